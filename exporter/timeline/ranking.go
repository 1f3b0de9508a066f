// SPDX-License-Identifier: Apache-2.0

package timeline

import "container/heap"

// ranking keeps the requests of the highest ranks and shares its room among
// services: when it is full, of the services that hold the most places the one
// whose lowest rank is the lowest loses that request.
//
// So a service that needs less than an equal share has all of its requests, the
// others differ by one place at most, and what is kept of each is exactly its
// highest: a service that has lost a place never gets it back for a lower rank,
// since the most that any service holds never grows once the room is full.
// What is kept therefore doesn't depend on the order in which requests came.
type ranking struct {
	room     int
	held     int
	services map[string]*ranked // none is empty
}

func newRanking(room int) *ranking {
	return &ranking{room: room, services: map[string]*ranked{}}
}

// add keeps the request if its rank is high enough.
func (k *ranking) add(request *Request, rank uint64) {
	own := k.services[request.Service]
	if own == nil {
		own = &ranked{}
		k.services[request.Service] = own
	}
	heap.Push(own, place{rank, request})
	if k.held < k.room {
		k.held++
		return
	}
	service, loser := request.Service, own
	for name, other := range k.services {
		if len(*other) > len(*loser) || len(*other) == len(*loser) && (*other)[0].rank < (*loser)[0].rank {
			service, loser = name, other
		}
	}
	heap.Pop(loser)
	if len(*loser) == 0 {
		delete(k.services, service)
	}
}

// each calls visit with every request, in no order.
func (k *ranking) each(visit func(*Request)) {
	for _, held := range k.services {
		for _, p := range *held {
			visit(p.request)
		}
	}
}

// ranked is what one service holds: a heap with the lowest rank on top.
type ranked []place

type place struct {
	rank    uint64
	request *Request
}

func (r ranked) Len() int           { return len(r) }
func (r ranked) Less(i, j int) bool { return r[i].rank < r[j].rank }
func (r ranked) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *ranked) Push(p any)        { *r = append(*r, p.(place)) }

func (r *ranked) Pop() any {
	last := len(*r) - 1
	p := (*r)[last]
	(*r)[last] = place{} // lets go of the request
	*r = (*r)[:last]
	return p
}
