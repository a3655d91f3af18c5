package entities

// Give has the engine keep the state of an entity of a kind whose plugin keeps
// it otherwise: from then on Put and Delete change it, nothing asks the plugin
// for it, and it has no deadline. It is for simulations, and forgotten at the
// next start. ErrUnknownKind.
func (r *Registry) Give(kindName, id string) error {
	if _, err := r.kind(kindName); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.given == nil {
		r.given = map[key]bool{}
	}
	r.given[key{kindName, id}] = true
	return nil
}

func (r *Registry) isGiven(k *kind, id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.given[key{k.name, id}]
}

// partGiven tells the entities whose states are given from the others.
func (r *Registry) partGiven(k *kind, ids []string) (given, others []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.given == nil {
		return nil, ids
	}
	for _, id := range ids {
		if r.given[key{k.name, id}] {
			given = append(given, id)
		} else {
			others = append(others, id)
		}
	}
	return given, others
}
