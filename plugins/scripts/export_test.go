package scripts

import "github.com/danielgtaylor/huma/v2"

// Operations declares the operations of the API.
func (p *Plugin) Operations(api huma.API) { p.operations(api) }
