package etcd

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/okapi-kv/okapi/internal/telemetry"
)

// calls counts what comes and goes on the gRPC server, what the gate behind it refuses included. The counters of a
// method are found once; a call costs a look into a map that never changes. It hands on to the gate itself, because
// a chain of interceptors that gRPC makes allocates for each call.
type calls struct {
	guard    *gate
	byMethod map[string]*telemetry.Call
}

// resolve finds the counters of all methods of a server, which has all its services. It is called before the server
// serves.
func (c *calls) resolve(services map[string]grpc.ServiceInfo, m *telemetry.Metrics) {
	var names []string
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		names = append(names, code.String())
	}
	c.byMethod = make(map[string]*telemetry.Call)
	for service, info := range services { // the order does not matter
		for _, method := range info.Methods {
			c.byMethod["/"+service+"/"+method.Name] = m.Call(service, method.Name, kindOf(&method), names)
		}
	}
}

// kindOf is the label for how a method streams.
func kindOf(m *grpc.MethodInfo) string {
	switch {
	case m.IsClientStream && m.IsServerStream:
		return "bidi_stream"
	case m.IsClientStream:
		return "client_stream"
	case m.IsServerStream:
		return "server_stream"
	default:
		return "unary"
	}
}

// unary is the interceptor of unary calls.
func (c *calls) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	call := c.byMethod[info.FullMethod]
	call.Started.Inc()
	call.Received.Inc()
	resp, err := c.answer(ctx, req, info, next)
	if err == nil {
		call.Sent.Inc()
	}
	call.Handled[codeOf(err)].Inc()
	return resp, err
}

// answer serves a unary call and returns its answer, once there is room for it on the connection.
func (c *calls) answer(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	room := outboxOf(ctx).ofCalls()
	if room == nil {
		return c.guard.unary(ctx, req, info, next)
	}
	ctx, out := withOutgoing(ctx, room)
	defer out.done()
	resp, err := c.guard.unary(ctx, req, info, next)
	if err != nil {
		return nil, err
	}
	return out.pack(ctx, resp)
}

// stream is the interceptor of streams.
func (c *calls) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	call := c.byMethod[info.FullMethod]
	call.Started.Inc()
	ctx, out := withOutgoing(s.Context(), outboxOf(s.Context()).ofStreams())
	defer out.done()
	err := c.guard.stream(srv, &countedStream{s, ctx, out, call}, info, next)
	call.Handled[codeOf(err)].Inc()
	return err
}

// codeOf is the code with which gRPC sends an error.
func codeOf(err error) codes.Code {
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	return min(s.Code(), codes.Unauthenticated)
}

// countedStream is a stream whose messages are counted, and wait for room.
type countedStream struct {
	grpc.ServerStream
	ctx  context.Context
	out  *outgoing
	call *telemetry.Call
}

// Context implements grpc.ServerStream.
func (s *countedStream) Context() context.Context { return s.ctx }

// SendMsg implements grpc.ServerStream.
func (s *countedStream) SendMsg(m any) error {
	packed, err := s.out.pack(s.ctx, m)
	if err == nil {
		err = s.ServerStream.SendMsg(packed)
	}
	if err == nil {
		s.call.Sent.Inc()
	}
	return err
}

// RecvMsg implements grpc.ServerStream.
func (s *countedStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.call.Received.Inc()
	}
	return err
}

// countedCodec is the codec of the gRPC server, and counts the bytes of messages. Like etcd's (v3rpc/codec.go) it is used for all
// calls, whatever content type they name.
type countedCodec struct {
	encoding.CodecV2
	metrics *telemetry.Metrics
}

func newCountedCodec(m *telemetry.Metrics) countedCodec {
	return countedCodec{newCodec(), m}
}

// Marshal implements encoding.CodecV2.
func (c countedCodec) Marshal(v any) (mem.BufferSlice, error) {
	out, err := c.CodecV2.Marshal(v)
	c.metrics.BytesSent.Add(float64(out.Len()))
	return out, err
}

// Unmarshal implements encoding.CodecV2.
func (c countedCodec) Unmarshal(data mem.BufferSlice, v any) error {
	c.metrics.BytesReceived.Add(float64(data.Len()))
	return c.CodecV2.Unmarshal(data, v)
}
