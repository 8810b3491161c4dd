package bare

const sysExecveat = 281

const sysSchedSetattr = 274
