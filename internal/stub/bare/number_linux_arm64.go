package bare

const sysExecveat = 281
