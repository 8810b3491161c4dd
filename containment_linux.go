package corral

import (
	"github.com/corral-run/corral/internal/hold/cgroups"
	"github.com/corral-run/corral/internal/hold/group"
	"github.com/corral-run/corral/internal/hold/keeper"
	_ "github.com/corral-run/corral/internal/roles/guard"
	_ "github.com/corral-run/corral/internal/roles/keeper"
	_ "github.com/corral-run/corral/internal/roles/limiter"
)

var ladder = []mechanism{
	{PIDNS, keeper.OpenPIDNS},
	{Cgroup, cgroups.Open},
	{Keeper, keeper.Open},
	{Group, group.Open},
}
