package disposition

const restorerFlag = 0 // the kernel has one in its vDSO
