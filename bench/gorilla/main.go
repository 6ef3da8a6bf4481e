// The ticket desk on gorilla/websocket: a hub of clients with a reader and a writer each, as the library's chat example
// has them, and prepared messages, so that a message is framed once.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt"
	"github.com/gorilla/websocket"
)

const (
	writeWait  = 10 * time.Second
	pongWait   = 60 * time.Second
	pingPeriod = pongWait * 9 / 10
	// How many messages a slow client may have waiting before it is closed.
	waiting = 256
)

var (
	secret   = []byte(os.Getenv("JWT_SECRET"))
	upgrader = websocket.Upgrader{
		ReadBufferSize:  1024,
		WriteBufferSize: 1024,
		WriteBufferPool: &sync.Pool{},
	}
	rooms = hub{members: make(map[string]map[*client]struct{})}
)

type claims struct {
	User        string   `json:"userId"`
	Roles       []string `json:"roles"`
	Departments []string `json:"departments"`
	jwt.StandardClaims
}

// message is what clients send and get.
type message struct {
	Type      string      `json:"type"`
	Channels  []string    `json:"channels,omitempty"`
	Payload   interface{} `json:"payload,omitempty"`
	Timestamp string      `json:"timestamp,omitempty"`
}

type client struct {
	claims claims
	socket *websocket.Conn
	send   chan *websocket.PreparedMessage
	closed sync.Once
	done   chan struct{}
	joined map[string]struct{} // touched by the reader only
}

type hub struct {
	sync.RWMutex
	members map[string]map[*client]struct{}
}

func (h *hub) join(c *client, channel string) {
	h.Lock()
	defer h.Unlock()
	if h.members[channel] == nil {
		h.members[channel] = make(map[*client]struct{})
	}
	h.members[channel][c] = struct{}{}
	c.joined[channel] = struct{}{}
}

func (h *hub) leave(c *client, channel string) {
	h.Lock()
	defer h.Unlock()
	delete(h.members[channel], c)
	if len(h.members[channel]) == 0 {
		delete(h.members, channel)
	}
	delete(c.joined, channel)
}

func (h *hub) publish(channel string, prepared *websocket.PreparedMessage) {
	h.RLock()
	defer h.RUnlock()
	for c := range h.members[channel] {
		c.push(prepared)
	}
}

func (c *client) push(prepared *websocket.PreparedMessage) {
	select {
	case c.send <- prepared:
	default:
		c.close()
	}
}

func (c *client) close() {
	c.closed.Do(func() { close(c.done) })
}

func (c *client) reply(m message) {
	if prepared, err := prepare(m); err == nil {
		c.push(prepared)
	}
}

func (c *client) maySubscribe(channel string) bool {
	kind, name, _ := strings.Cut(channel, ":")
	switch kind {
	case "user":
		return name == c.claims.User
	case "role":
		return contains(c.claims.Roles, name)
	case "department":
		return contains(c.claims.Departments, name)
	default:
		return kind == "ticket"
	}
}

func (c *client) read() {
	defer func() {
		for channel := range c.joined {
			rooms.leave(c, channel)
		}
		c.close()
	}()
	c.socket.SetReadLimit(512 * 1024)
	c.socket.SetReadDeadline(time.Now().Add(pongWait))
	c.socket.SetPongHandler(func(string) error { return c.socket.SetReadDeadline(time.Now().Add(pongWait)) })
	for {
		_, bytes, err := c.socket.ReadMessage()
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(bytes, &m) != nil {
			continue
		}
		switch m.Type {
		case "subscribe":
			var joined []string
			for _, channel := range m.Channels {
				if c.maySubscribe(channel) {
					rooms.join(c, channel)
					joined = append(joined, channel)
				}
			}
			c.reply(message{Type: "subscribed", Channels: joined, Timestamp: now()})
		case "unsubscribe":
			for _, channel := range m.Channels {
				rooms.leave(c, channel)
			}
			c.reply(message{Type: "unsubscribed", Channels: m.Channels, Timestamp: now()})
		case "heartbeat":
			c.reply(message{Type: "heartbeat_ack", Timestamp: now()})
		}
	}
}

func (c *client) write() {
	ticker := time.NewTicker(pingPeriod)
	defer func() {
		ticker.Stop()
		c.socket.Close()
	}()
	for {
		select {
		case prepared := <-c.send:
			c.socket.SetWriteDeadline(time.Now().Add(writeWait))
			if c.socket.WritePreparedMessage(prepared) != nil {
				return
			}
		case <-ticker.C:
			c.socket.SetWriteDeadline(time.Now().Add(writeWait))
			if c.socket.WriteMessage(websocket.PingMessage, nil) != nil {
				return
			}
		case <-c.done:
			return
		}
	}
}

func serveClient(w http.ResponseWriter, r *http.Request) {
	var who claims
	if _, err := jwt.ParseWithClaims(r.URL.Query().Get("token"), &who, key); err != nil {
		http.Error(w, "Authentication error", http.StatusUnauthorized)
		return
	}
	socket, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c := &client{
		claims: who,
		socket: socket,
		send:   make(chan *websocket.PreparedMessage, waiting),
		done:   make(chan struct{}),
		joined: make(map[string]struct{}),
	}
	rooms.join(c, "user:"+who.User)
	c.reply(message{Type: "connected", Timestamp: now()})
	go c.write()
	go c.read()
}

func servePublish(w http.ResponseWriter, r *http.Request) {
	var publication struct {
		Channel string          `json:"channel"`
		Event   string          `json:"event"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(r.Body).Decode(&publication); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	prepared, err := prepare(message{Type: publication.Event, Payload: publication.Data, Timestamp: now()})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	rooms.publish(publication.Channel, prepared)
}

func prepare(m message) (*websocket.PreparedMessage, error) {
	bytes, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return websocket.NewPreparedMessage(websocket.TextMessage, bytes)
}

func key(token *jwt.Token) (interface{}, error) {
	if token.Method != jwt.SigningMethodHS256 {
		return nil, errors.New("not HS256")
	}
	return secret, nil
}

func contains(list []string, wanted string) bool {
	for _, item := range list {
		if item == wanted {
			return true
		}
	}
	return false
}

func now() string {
	return time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
}

func main() {
	address := "127.0.0.1:0"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	http.HandleFunc("/ws", serveClient)
	http.HandleFunc("/publish", servePublish)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("Listening on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
