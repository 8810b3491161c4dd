package bare

const sysExecveat = 322

const sysSchedSetattr = 314
