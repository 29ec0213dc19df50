"""cpu, cuda and npu behind one face. No other room names a vendor or asks which device it runs on."""
