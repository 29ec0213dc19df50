"""The named campaigns: which recipes follow one another, stage by stage."""

from dwm.config.campaign import campaign

campaign("unimlvg", {f"stage{number}": f"unimlvg-stage{number}" for number in (1, 2, 3)})
campaign("sd35-nuscenes", {"warmup": "sd35-layout-nuscenes-warmup", "main": "sd35-layout-nuscenes"})
campaign("sd35-nwao", {"warmup": "sd35-text-nwao-warmup", "main": "sd35-text-nwao"})
campaign("sd21-nuscenes", {"warmup": "sd21-layout-nuscenes-warmup", "main": "sd21-layout-nuscenes"})
campaign("sd21-nwa", {"warmup": "sd21-layout-nwa-warmup", "main": "sd21-layout-nwa"})
campaign("sd21-nwao", {"warmup": "sd21-text-nwao-warmup", "main": "sd21-text-nwao"})
