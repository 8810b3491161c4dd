#include "textflag.h"

// func vfork() (result uintptr)
TEXT ·vfork(SB),NOSPLIT|NOFRAME,$0-8
	MOVQ	$0x4111, DI // CLONE_VM|CLONE_VFORK|SIGCHLD
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVQ	$56, AX // clone
	// The child will overwrite the return address, which is on the stack that it
	// shares. The kernel keeps this register.
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	MOVQ	AX, result+0(FP)
	RET
