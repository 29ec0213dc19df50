"""A small OpenDRIVE map written out by hand: a straight, an arc and a spiral, a hill, a lane that widens, a kerb, a crosswalk."""

LENGTH = 140.0
MAP = """<?xml version="1.0"?>
<OpenDRIVE>
 <header revMajor="1" revMinor="4" name="small" north="0" south="0" east="0" west="0"/>
 <road name="one" length="140.0" id="1" junction="-1">
  <planView>
   <geometry s="0" x="10" y="-5" hdg="0.3" length="60"><line/></geometry>
   <geometry s="60" x="67.32018934753636" y="12.731212399680373" hdg="0.3" length="40"><arc curvature="0.02"/></geometry>
   <geometry s="100" x="{x}" y="{y}" hdg="1.1" length="40"><spiral curvStart="0.02" curvEnd="-0.03"/></geometry>
  </planView>
  <elevationProfile>
   <elevation s="0" a="0.5" b="0.01" c="0" d="0"/>
   <elevation s="80" a="1.3" b="0.01" c="0.0005" d="0"/>
  </elevationProfile>
  <lanes>
   <laneOffset s="0" a="0.4" b="0" c="0" d="0"/>
   <laneSection s="0">
    <left>
     <lane id="2" type="sidewalk" level="false">
      <width sOffset="0" a="2" b="0" c="0" d="0"/><roadMark sOffset="0" type="none"/>
     </lane>
     <lane id="1" type="driving" level="false">
      <width sOffset="0" a="3.5" b="0" c="0" d="0"/><roadMark sOffset="0" type="curb"/>
     </lane>
    </left>
    <center>
     <lane id="0" type="none" level="false"><roadMark sOffset="0" type="solid"/><roadMark sOffset="20" type="broken"/></lane>
    </center>
    <right>
     <lane id="-1" type="driving" level="false">
      <width sOffset="0" a="3.0" b="0.01" c="0" d="0"/><roadMark sOffset="0" type="broken"/>
     </lane>
     <lane id="-2" type="shoulder" level="false">
      <width sOffset="0" a="1.5" b="0" c="0" d="0"/><roadMark sOffset="0" type="curb"/>
     </lane>
    </right>
   </laneSection>
   <laneSection s="90">
    <left>
     <lane id="1" type="driving" level="false">
      <width sOffset="0" a="3.5" b="0" c="0" d="0"/><roadMark sOffset="0" type="curb"/>
     </lane>
    </left>
    <center><lane id="0" type="none" level="false"><roadMark sOffset="0" type="solid solid"/></lane></center>
    <right>
     <lane id="-1" type="driving" level="false">
      <width sOffset="0" a="3.9" b="0" c="0" d="0"/><roadMark sOffset="0" type="solid"/>
     </lane>
    </right>
   </laneSection>
  </lanes>
  <objects>
   <object type="crosswalk" id="c" name="crosswalk" s="30" t="0" zOffset="0" hdg="0" orientation="none" length="10" width="4">
    <outline>
     <cornerLocal u="-2" v="-5" z="0"/><cornerLocal u="2" v="-5" z="0"/><cornerLocal u="2" v="5" z="0"/>
     <cornerLocal u="-2" v="5" z="0"/><cornerLocal u="-2" v="-5" z="0"/>
    </outline>
   </object>
  </objects>
 </road>
</OpenDRIVE>
"""


def text() -> str:
    """The map, its arc's end worked out."""
    import math

    x0, y0, heading, curvature, length = 67.32018934753636, 12.731212399680373, 0.3, 0.02, 40.0
    radius = 1 / curvature
    x = x0 + radius * (math.sin(heading + curvature * length) - math.sin(heading))
    y = y0 - radius * (math.cos(heading + curvature * length) - math.cos(heading))
    return MAP.replace("{x}", repr(x)).replace("{y}", repr(y))
