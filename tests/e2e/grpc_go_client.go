// grpc-go as a client of grpc_echo_server: raw messages, so that no generated code is needed.
// Usage: grpc_go_client ADDRESS [CERTIFICATE.pem: TLS]. Prints what went wrong and exits with 1,
// or "ok".
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	echoStream  = "/weir.test.Echo/Stream"
	healthCheck = "/grpc.health.v1.Health/Check"
	healthWatch = "/grpc.health.v1.Health/Watch"
	wait        = 60 * time.Second
	mebibyte    = 1 << 20
	manyCalls   = 100
)

var description = grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// Messages are bytes.
type rawCodec struct{}

func (rawCodec) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (rawCodec) Name() string { return "proto" }

var failed sync.Map

func expect(condition bool, what string, arguments ...interface{}) {
	if !condition {
		failed.Store(fmt.Sprintf(what, arguments...), true)
	}
}

type call struct {
	grpc.ClientStream
	cancel context.CancelFunc
}

func open(connection *grpc.ClientConn, method string, limit time.Duration, options ...grpc.CallOption) call {
	return openWith(context.Background(), connection, method, limit, options...)
}

func openWith(base context.Context, connection *grpc.ClientConn, method string, limit time.Duration,
	options ...grpc.CallOption) call {
	timed, cancel := context.WithTimeout(base, limit)
	stream, err := connection.NewStream(timed, &description, method, options...)
	if err != nil {
		fmt.Println("failed: a stream of", method, err)
		os.Exit(1)
	}
	return call{stream, cancel}
}

func (c call) write(message []byte) error { return c.SendMsg(&message) }
func (c call) read() ([]byte, error) {
	var message []byte
	err := c.RecvMsg(&message)
	return message, err
}
func (c call) echoes(message []byte) bool {
	if c.write(message) != nil {
		return false
	}
	answer, err := c.read()
	return err == nil && bytes.Equal(answer, message)
}
func (c call) ends() bool {
	if c.CloseSend() != nil {
		return false
	}
	_, err := c.read()
	return err == io.EOF
}

func echo(connection *grpc.ClientConn, options ...grpc.CallOption) {
	c := open(connection, echoStream, wait, options...)
	defer c.cancel()
	for _, size := range []int{0, 1, 70_000, 3 * mebibyte} {
		expect(c.echoes(bytes.Repeat([]byte{'m'}, size)), "echo of %d bytes", size)
	}
	expect(c.ends(), "the end of the stream")
}

// More streams than one connection's first window lets through at once.
func concurrent(connection *grpc.ClientConn) {
	var group sync.WaitGroup
	for i := 0; i < manyCalls; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			c := open(connection, echoStream, wait)
			defer c.cancel()
			for round := 0; round < 10; round++ {
				message := bytes.Repeat([]byte{byte(i)}, 3000*round)
				expect(c.echoes(message), "stream %d, round %d", i, round)
			}
			expect(c.ends(), "the end of stream %d", i)
		}(i)
	}
	group.Wait()
}

func failure(connection *grpc.ClientConn) {
	with := metadata.AppendToOutgoingContext(context.Background(), "x-fail", "9 not now: 100%")
	c := openWith(with, connection, echoStream, wait)
	defer c.cancel()
	expect(c.write([]byte("m")) == nil, "a message that fails")
	_, err := c.read()
	expect(status.Code(err) == codes.FailedPrecondition, "its code %v", err)
	expect(status.Convert(err).Message() == "not now: 100%", "its text %v", err)
}

func deadline(connection *grpc.ClientConn) {
	with := metadata.AppendToOutgoingContext(context.Background(), "x-silent", "1")
	c := openWith(with, connection, echoStream, 200*time.Millisecond)
	defer c.cancel()
	expect(c.write([]byte("m")) == nil, "a message into silence")
	_, err := c.read()
	expect(status.Code(err) == codes.DeadlineExceeded, "the deadline %v", err)
}

func cancelled(connection *grpc.ClientConn) {
	c := open(connection, echoStream, wait)
	expect(c.echoes([]byte("first")), "an echo before the cancel")
	c.cancel()
	_, err := c.read()
	expect(status.Code(err) == codes.Canceled, "the cancel %v", err)
}

func tooLarge(connection *grpc.ClientConn) {
	c := open(connection, echoStream, wait)
	defer c.cancel()
	_ = c.write(make([]byte, 4*mebibyte+1)) // it may learn of the end while it writes
	_, err := c.read()
	expect(status.Code(err) == codes.ResourceExhausted, "the refusal of a large message %v", err)
}

func unknown(connection *grpc.ClientConn) {
	c := open(connection, "/weir.test.Echo/No", wait)
	defer c.cancel()
	_, err := c.read()
	expect(status.Code(err) == codes.Unimplemented, "an unknown method %v", err)
}

func health(connection *grpc.ClientConn) {
	for _, method := range []string{healthCheck, healthWatch} {
		c := open(connection, method, wait)
		expect(c.write(nil) == nil && c.CloseSend() == nil, "a question to %s", method)
		answer, err := c.read()
		expect(err == nil && bytes.Equal(answer, []byte{8, 1}), "serving %v %v", answer, err)
		c.cancel()
	}
}

func main() {
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	security := grpc.WithInsecure()
	if len(os.Args) > 2 {
		certificate, err := credentials.NewClientTLSFromFile(os.Args[2], "localhost")
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		security = grpc.WithTransportCredentials(certificate)
	}
	connection, err := grpc.Dial(os.Args[1], security, grpc.WithBlock(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}),
			grpc.MaxCallRecvMsgSize(8*mebibyte), grpc.MaxCallSendMsgSize(8*mebibyte)))
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	defer connection.Close()
	echo(connection)
	echo(connection, grpc.UseCompressor(gzip.Name))
	concurrent(connection)
	failure(connection)
	deadline(connection)
	cancelled(connection)
	tooLarge(connection)
	unknown(connection)
	health(connection)
	code := 0
	failed.Range(func(what, _ interface{}) bool {
		fmt.Println("failed:", what)
		code = 1
		return true
	})
	if code == 0 {
		fmt.Println("ok")
	}
	os.Exit(code)
}
