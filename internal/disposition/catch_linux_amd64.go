package disposition

const restorerFlag = 0x04000000 // SA_RESTORER, which amd64 requires
