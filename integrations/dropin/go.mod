module github.com/corral-run/corral/integrations/dropin

go 1.25.0
