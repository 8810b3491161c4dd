// Package keeper holds runs by a keeper, a helper process between the owner and the
// leader, which adopts every orphan; as the init of a PID namespace, too. It is the
// owner's side; what the keeper does is in package roles/keeper.
package keeper
