// The ticket desk on the Centrifuge library: its JSON protocol, tokens checked when a client connects, channels that the
// server subscribes it to, memory broker, no history. Pooled write buffers, as its own benchmark has them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/golang-jwt/jwt"
)

var secret = []byte(os.Getenv("JWT_SECRET"))

type claims struct {
	User  string   `json:"userId"`
	Roles []string `json:"roles"`
	jwt.StandardClaims
}

// wanted is the data of a connect command: channels beside the user's own.
type wanted struct {
	Channels []string `json:"channels"`
}

func (c *claims) maySubscribe(channel string) bool {
	kind, name, _ := strings.Cut(channel, ":")
	switch kind {
	case "user":
		return name == c.User
	case "role":
		for _, role := range c.Roles {
			if role == name {
				return true
			}
		}
		return false
	default:
		return kind == "ticket"
	}
}

func connecting(_ context.Context, event centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
	var who claims
	if _, err := jwt.ParseWithClaims(event.Token, &who, key); err != nil {
		return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
	}
	var more wanted
	if len(event.Data) > 0 {
		if err := json.Unmarshal(event.Data, &more); err != nil {
			return centrifuge.ConnectReply{}, centrifuge.ErrorBadRequest
		}
	}
	channels := map[string]centrifuge.SubscribeOptions{"user:" + who.User: {}}
	for _, channel := range more.Channels {
		if !who.maySubscribe(channel) {
			return centrifuge.ConnectReply{}, centrifuge.ErrorPermissionDenied
		}
		channels[channel] = centrifuge.SubscribeOptions{}
	}
	return centrifuge.ConnectReply{
		Credentials:   &centrifuge.Credentials{UserID: who.User},
		Subscriptions: channels,
	}, nil
}

// desk holds what is published to.
type desk struct{ node *centrifuge.Node }

// message is what clients get.
type message struct {
	Type      string          `json:"type"`
	Payload   json.RawMessage `json:"payload"`
	Timestamp string          `json:"timestamp"`
}

func (d desk) publish(w http.ResponseWriter, r *http.Request) {
	var publication struct {
		Channel string          `json:"channel"`
		Event   string          `json:"event"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(r.Body).Decode(&publication); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	timestamp := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	bytes, err := json.Marshal(message{Type: publication.Event, Payload: publication.Data, Timestamp: timestamp})
	if err == nil {
		_, err = d.node.Publish(publication.Channel, bytes)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func key(token *jwt.Token) (interface{}, error) {
	if token.Method != jwt.SigningMethodHS256 {
		return nil, errors.New("not HS256")
	}
	return secret, nil
}

func main() {
	address := "127.0.0.1:0"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	node, err := centrifuge.New(centrifuge.DefaultConfig)
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(connecting)
	node.OnConnect(func(*centrifuge.Client) {})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		ReadBufferSize:     1024,
		UseWriteBufferPool: true,
	}))
	http.HandleFunc("/publish", desk{node}.publish)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("Listening on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
