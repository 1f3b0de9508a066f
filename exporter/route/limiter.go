// SPDX-License-Identifier: Apache-2.0

package route

import "sync"

// Other is the path of what a Limiter doesn't admit.
const Other = "other"

// Limiter bounds how many different paths each service may have: the first ones
// win, the others share one series. Goroutines may share it.
type Limiter struct {
	max  int
	lock sync.RWMutex
	seen map[string]map[string]struct{} // service → paths
}

// NewLimiter returns a limiter of max paths for each service.
func NewLimiter(max int) *Limiter {
	return &Limiter{max: max, seen: map[string]map[string]struct{}{}}
}

// Admit returns the path itself and true if it is one of the first of its
// service, else Other and false. Other itself always passes and takes no place.
func (l *Limiter) Admit(service, path string) (string, bool) {
	if path == Other {
		return Other, true
	}
	l.lock.RLock()
	paths := l.seen[service]
	_, known := paths[path]
	full := len(paths) >= l.max
	l.lock.RUnlock()
	switch {
	case known:
		return path, true
	case full:
		return Other, false
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	paths = l.seen[service]
	if _, known := paths[path]; known {
		return path, true
	}
	if len(paths) >= l.max {
		return Other, false
	}
	if paths == nil {
		paths = map[string]struct{}{}
		l.seen[service] = paths
	}
	paths[path] = struct{}{}
	return path, true
}

// Forget frees the places of a service that is gone.
func (l *Limiter) Forget(service string) {
	l.lock.Lock()
	defer l.lock.Unlock()
	delete(l.seen, service)
}
