// The peer in Go. `go-peer serve`, or `go-peer fetch PORT COUNT`.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func echo(connection net.Conn) {
	buffer := make([]byte, 4096)
	for {
		count, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:count]); err != nil {
			return
		}
	}
}

func serve() {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		go echo(must(listener.Accept()))
	}
}

func fetch(port string) {
	connection := must(net.Dial("tcp", "127.0.0.1:"+port))
	defer connection.Close()
	must(connection.Write([]byte("GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")))
	if answer := must(io.ReadAll(connection)); !bytes.HasSuffix(answer, []byte("here it is\n")) {
		panic(string(answer))
	}
}

func main() {
	if os.Args[1] == "serve" {
		serve()
	}
	var all sync.WaitGroup
	begin := time.Now()
	for range must(strconv.Atoi(os.Args[3])) {
		all.Go(func() { fetch(os.Args[2]) })
	}
	all.Wait()
	fmt.Println(time.Since(begin).Seconds())
}
