package bare

const sysExecveat = 322
