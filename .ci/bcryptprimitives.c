/* bcryptprimitives.dll for Wine 8.0, which lacks it: the one function
   that Go's runtime wants of it (runtime/os_windows.go). */
#include <windows.h>
#include <ntsecapi.h>

BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) { return RtlGenRandom(data, (ULONG)size); }
