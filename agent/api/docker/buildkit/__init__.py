"""What BuildKit's clients speak: gRPC over HTTP/2 over an upgraded connection.

    POST /grpc     the client asks: moby.buildkit.v1.Control, moby.buildkit.v1.frontend.LLBBridge
    POST /session  we ask, over the client's connection: files, secrets, ssh agents, logins

    wire ─ messages             protobuf, the few messages that there are
    http2 ─ grpc                streams of messages, both ways round
    packets ─ file_sync         the client's files to a tar without a name
    attributes                  what is asked for, to a build order
    vertexes                    what a build says, to BuildKit's progress
    sessions, solves, control   who is there, what is being built, and the methods

No LLB is executed: the Dockerfile is read and built by us, whatever frontend its first line names.
"""
