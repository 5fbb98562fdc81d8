// A client of the inference service with grpc-go. It has no generated code: messages are made of descriptors,
// and written and read as JSON.
//
//	goclient session DESCRIPTORS ENDPOINT ADDRESS
//	goclient load DESCRIPTORS ENDPOINT ADDRESS...
//
// DESCRIPTORS is a file with a FileDescriptorSet; the endpoint multiplies FP32 `x` [batch, 2] into `y`. A session
// prints what came back. A load calls without pause, on all addresses in turn, and prints `running` when it does;
// when its standard input ends, it prints what became of the calls.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // Clients look at the health of servers.
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	patience = 30 * time.Second
	callers  = 8
	// As the README gives it to clients that shall notice nothing when a server goes.
	serviceConfig = `{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""},
		"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "5s",
			"backoffMultiplier": 4, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`
)

// client calls methods of the service by their names.
type client struct {
	connection *grpc.ClientConn
	service    protoreflect.ServiceDescriptor
}

func connect(descriptors string, addresses []string) (*client, error) {
	written, err := os.ReadFile(descriptors)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(written, &set); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, err
	}
	service, err := files.FindDescriptorByName("inference.GRPCInferenceService")
	if err != nil {
		return nil, err
	}
	servers := manual.NewBuilderWithScheme("servers")
	state := resolver.State{}
	for _, address := range addresses {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	servers.InitialState(state)
	connection, err := grpc.NewClient(
		"servers:///inference",
		grpc.WithResolvers(servers),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
	)
	if err != nil {
		return nil, err
	}
	return &client{connection, service.(protoreflect.ServiceDescriptor)}, nil
}

// messages gives the path of a method, a request of this JSON, and room for a response.
func (c *client) messages(method, request string) (string, *dynamicpb.Message, *dynamicpb.Message, error) {
	described := c.service.Methods().ByName(protoreflect.Name(method))
	asked := dynamicpb.NewMessage(described.Input())
	err := protojson.Unmarshal([]byte(request), asked)
	return fmt.Sprintf("/%s/%s", c.service.FullName(), method), asked, dynamicpb.NewMessage(described.Output()), err
}

// call gives the response as JSON.
func (c *client) call(ctx context.Context, method, request string) (json.RawMessage, error) {
	path, asked, answer, err := c.messages(method, request)
	if err != nil {
		return nil, err
	}
	if err := c.connection.Invoke(ctx, path, asked, answer); err != nil {
		return nil, err
	}
	return protojson.Marshal(answer)
}

// stream opens a stream of requests; what it gives sends one and receives one.
func (c *client) stream(ctx context.Context) (send func(string) error, receive func() (json.RawMessage, error), end func() error, err error) {
	path, _, _, err := c.messages("ModelStreamInfer", "{}")
	if err != nil {
		return nil, nil, nil, err
	}
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	opened, err := c.connection.NewStream(ctx, both, path)
	if err != nil {
		return nil, nil, nil, err
	}
	send = func(request string) error {
		_, asked, _, err := c.messages("ModelStreamInfer", request)
		if err != nil {
			return err
		}
		return opened.SendMsg(asked)
	}
	receive = func() (json.RawMessage, error) {
		_, _, answer, err := c.messages("ModelStreamInfer", "{}")
		if err != nil {
			return nil, err
		}
		if err := opened.RecvMsg(answer); err != nil {
			return nil, err
		}
		return protojson.Marshal(answer)
	}
	return send, receive, opened.CloseSend, nil
}

// question is a request to double 1 and 2.
func question(endpoint, id string) string {
	return fmt.Sprintf(
		`{"model_name": %q, "id": %q, "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2]}],
		"raw_input_contents": ["AACAPwAAAEA="]}`, endpoint, id)
}

func session(c *client, endpoint string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	seen := map[string]any{}
	for name, asked := range map[string][2]string{
		"ready":    {"ServerReady", "{}"},
		"index":    {"RepositoryIndex", "{}"},
		"metadata": {"ModelMetadata", fmt.Sprintf(`{"name": %q}`, endpoint)},
		"answer":   {"ModelInfer", question(endpoint, "mine")},
	} {
		answer, err := c.call(ctx, asked[0], asked[1])
		if err != nil {
			return nil, err
		}
		seen[name] = answer
	}
	_, err := c.call(ctx, "ModelInfer", question("nothing", ""))
	seen["error"] = status.Code(err).String()
	seen["details"] = len(status.Convert(err).Details())

	hasty, expire := context.WithTimeout(ctx, time.Nanosecond)
	_, err = c.call(hasty, "ModelInfer", question(endpoint, ""))
	expire()
	seen["expired"] = status.Code(err).String()

	if seen["stream"], err = streamed(ctx, c, endpoint); err != nil {
		return nil, err
	}
	if seen["cancelled"], err = cancelled(ctx, c, endpoint); err != nil {
		return nil, err
	}
	if _, err := c.call(ctx, "ModelInfer", question(endpoint, "")); err != nil {
		return nil, err
	}
	return seen, nil
}

// streamed sends many requests before it looks at the answers, and gives those until the stream ends.
func streamed(ctx context.Context, c *client, endpoint string) ([]json.RawMessage, error) {
	send, receive, end, err := c.stream(ctx)
	if err != nil {
		return nil, err
	}
	for number := range 100 {
		if err := send(question(endpoint, strconv.Itoa(number))); err != nil {
			return nil, err
		}
	}
	if err := end(); err != nil {
		return nil, err
	}
	var answers []json.RawMessage
	for {
		answer, err := receive()
		if err == io.EOF {
			return answers, nil
		}
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer)
	}
}

// cancelled gives up a stream that is open, and says how that ended.
func cancelled(ctx context.Context, c *client, endpoint string) (string, error) {
	given, giveUp := context.WithCancel(ctx)
	defer giveUp()
	send, receive, _, err := c.stream(given)
	if err != nil {
		return "", err
	}
	if err := send(question(endpoint, "")); err != nil {
		return "", err
	}
	if _, err := receive(); err != nil {
		return "", err
	}
	giveUp()
	_, err = receive()
	return status.Code(err).String(), nil
}

func load(c *client, endpoint string) map[string]any {
	stop := make(chan struct{})
	var together sync.WaitGroup
	var guard sync.Mutex
	answers, failures := 0, map[string]int{}
	running := sync.OnceFunc(func() { fmt.Println("running") })
	for range callers {
		together.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				_, err := c.call(ctx, "ModelInfer", question(endpoint, ""))
				cancel()
				guard.Lock()
				if status.Code(err) == codes.OK {
					answers++
				} else {
					failures[err.Error()]++
				}
				if answers > 10*callers {
					running()
				}
				guard.Unlock()
			}
		})
	}
	io.Copy(io.Discard, os.Stdin)
	close(stop)
	together.Wait()
	return map[string]any{"answers": answers, "failures": failures}
}

func run(arguments []string) error {
	if len(arguments) < 4 {
		return fmt.Errorf("session|load DESCRIPTORS ENDPOINT ADDRESS...")
	}
	c, err := connect(arguments[1], arguments[3:])
	if err != nil {
		return err
	}
	defer c.connection.Close()
	var seen map[string]any
	if arguments[0] == "load" {
		seen = load(c, arguments[2])
	} else if seen, err = session(c, arguments[2]); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(seen)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
