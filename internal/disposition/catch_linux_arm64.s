#include "textflag.h"

// The handler is called as C calls it: the signal's number is in R0. It has no
// goroutine, and may be on any thread.
TEXT caught<>(SB),NOSPLIT|NOFRAME,$0
	SUB	$16, RSP
	MOVB	R0, 0(RSP)
	MOVW	·caughtPipe(SB), R0
	MOVD	RSP, R1
	MOVD	$1, R2
	MOVD	$64, R8 // write
	SVC
	ADD	$16, RSP
	RET

// func caughtAddress() uintptr
TEXT ·caughtAddress(SB),NOSPLIT,$0-8
	MOVD	$caught<>(SB), R0
	MOVD	R0, ret+0(FP)
	RET

// func restorerAddress() uintptr
TEXT ·restorerAddress(SB),NOSPLIT,$0-8
	MOVD	$0, R0
	MOVD	R0, ret+0(FP)
	RET
