package corral

var ladder = []mechanism{{Job, notBuilt}}
