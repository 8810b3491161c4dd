// Package keeper holds a run by a keeper: a helper process between the owner and
// the leader that adopts every orphan. The keeper may also be the init of a PID
// namespace. This is the owner's side; package roles/keeper is the keeper's.
package keeper
