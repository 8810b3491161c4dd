package main

// Real-time signals as glibc counts them: signal(7).
const rtMin, rtMax = 34, 64
