package corral

var ladder = []mechanism{
	{PIDNS, openPIDNS},
	{Cgroup, openCgroup},
	{Keeper, openKeeper},
	{Group, openGroup},
}
