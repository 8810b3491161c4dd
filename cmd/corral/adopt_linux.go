package main

// adoptOrphans: corral starts nothing but one run.
const adoptOrphans = true
