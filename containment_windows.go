package corral

var ladder = []mechanism{{Job, openJob}}
