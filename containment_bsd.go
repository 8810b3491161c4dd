//go:build darwin || freebsd

package corral

import (
	"github.com/corral-run/corral/internal/hold/group"
	"github.com/corral-run/corral/internal/hold/keeper"
	_ "github.com/corral-run/corral/internal/roles/keeper"
	_ "github.com/corral-run/corral/internal/roles/limiter"
)

var ladder = []mechanism{{Keeper, keeper.Open}, {Group, group.Open}}
