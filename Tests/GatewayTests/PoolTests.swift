import Gateway
import Records
import Testing

@Suite("Pools and connections", .timeLimit(.minutes(2)))
struct PoolTests {
    typealias Configure = @Sendable (inout GatewayConfiguration, TestListener) -> Void

    @Test("a request waits for a connection when all are busy, and is refused when too many wait")
    func waiting() async throws {
        let configure: Configure = { configuration, _ in
            configuration.limits.upstreamConnectionsMax = 1
            configuration.limits.upstreamWaitersMax = 1
        }
        let records = try await withGateway(configure: configure) { gateway in
            let first = try await gateway.connect()
            try await first.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            let second = try await gateway.connect()
            let third = try await gateway.connect()
            // Which of the two is refused depends on whose bytes come first.
            try await second.send(get("/orders/2"))
            try await third.send(get("/orders/3"))
            let refused = await firstToHear(second, third)
            #expect(await refused.receiveHead().hasPrefix("HTTP/1.1 503"))
            let waiting = refused === second ? third : second
            try await upstream.send(ok("1"))
            #expect(await first.receiveHead().hasPrefix("HTTP/1.1 200"))
            _ = await upstream.receiveHead()
            try await upstream.send(ok("2"))
            #expect(await waiting.receiveHead().hasPrefix("HTTP/1.1 200"))
            #expect(gateway.upstream.count == 1)
        }
        #expect(records.map(\.status) == [503, 200, 200])
        #expect(records.first?.outcome == .gatewayError)
    }

    /// The first of two sockets that gets bytes.
    private func firstToHear(_ left: TestSocket, _ right: TestSocket) async -> TestSocket {
        await withTaskGroup(of: TestSocket.self) { group in
            for socket in [left, right] {
                let other = socket === left ? right : left
                group.addTask {
                    await socket.wait { !$0.isEmpty || !other.pending.isEmpty }
                    return socket.pending.isEmpty ? other : socket
                }
            }
            let first = await group.next() ?? left
            left.wake()
            right.wake()
            return first
        }
    }

    @Test("a client that leaves the queue does not get in the way of the others")
    func leavingTheQueue() async throws {
        let configure: Configure = { configuration, _ in
            configuration.limits.upstreamConnectionsMax = 1
        }
        let records = try await withGateway(configure: configure) { gateway in
            let first = try await gateway.connect()
            try await first.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            let leaving = try await gateway.connect()
            try await leaving.send(get("/orders/leaving"))
            try await leaving.closeOutput()
            await leaving.waitForEnd()
            let last = try await gateway.connect()
            try await last.send(get("/orders/3"))
            try await upstream.send(ok("1"))
            #expect(await upstream.receiveHead().hasPrefix("GET /orders/3 "))
            try await upstream.send(ok("3"))
            #expect(await last.receiveHead().hasPrefix("HTTP/1.1 200"))
        }
        #expect(records.map(\.outcome) == [.clientAborted, .ok, .ok])
    }

    @Test("an upstream connection with surplus bytes, or unasked ones, is not used again")
    func surplus() async throws {
        try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/1"))
            var upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            try await upstream.send(ok("1") + "HTTP/1.1 200 OK\r\n")
            _ = await client.receiveHead()
            _ = await client.receive(1)
            await upstream.waitForEnd()
            try await client.send(get("/orders/2"))
            upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            try await upstream.send(ok("2"))
            _ = await client.receiveHead()
            #expect(await client.receive(1) == "2")
            try await upstream.send("x")
            await upstream.waitForEnd()
        }
    }

    @Test("an upstream may answer before it has the whole request")
    func earlyResponse() async throws {
        let records = try await withGateway { gateway in
            // A short rest is read to its end, and the connection goes on.
            var client = try await gateway.connect()
            try await client.send(
                "POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf-"
            )
            var upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            try await upstream.send(ok("early"))
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            #expect(await client.receive(5) == "early")
            await upstream.waitForEnd()
            try await client.send("other" + get("/orders/2"))
            upstream = await gateway.upstream.accept()
            #expect(await upstream.receiveHead().hasPrefix("GET /orders/2 "))
            try await upstream.send(ok("2"))
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            // A rest of unknown length is not waited for.
            client = try await gateway.connect()
            try await client.send(
                "POST /orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"
            )
            _ = await upstream.receiveHead()
            try await upstream.send(ok("early"))
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            #expect(await client.receive(5) == "early")
            #expect(await client.waitForEnd() == .closed)
        }
        #expect(records.map(\.status) == [200, 200, 200])
    }

    @Test("HTTP/1.0 connections are kept when asked")
    func oldKeepAlive() async throws {
        let records = try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send("GET /orders/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            try await upstream.send(ok("1"))
            #expect(await client.receiveHead().contains("\r\nConnection: keep-alive\r\n"))
            #expect(await client.receive(1) == "1")
            try await client.send("GET /orders/2 HTTP/1.0\r\n\r\n")
            _ = await upstream.receiveHead()
            try await upstream.send(ok("2"))
            #expect(await client.receiveAll().hasSuffix("\r\nConnection: close\r\n\r\n2"))
        }
        #expect(records.count == 2)
    }

    @Test("upstreams may have names, and idle connections are given up")
    func names() async throws {
        let configure: Configure = { configuration, listener in
            configuration.apis[0].upstreams = [
                UpstreamAddress(host: "localhost", port: listener.port)
            ]
            configuration.timeouts.upstreamIdle = .milliseconds(50)
        }
        let records = try await withGateway(configure: configure) { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            #expect(await upstream.receiveHead().contains("\r\nHost: localhost:"))
            try await upstream.send(ok("1"))
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            #expect(await upstream.waitForEnd() == .closed)
        }
        #expect(records.first?.upstreamAddress.hasPrefix("localhost:") == true)
    }

    @Test("several loops have a lane each, and lose no record between them")
    func severalLoops() async throws {
        let configure: Configure = { configuration, _ in configuration.eventLoops = 3 }
        let records = try await withGateway(configure: configure) { gateway in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<12 {
                    group.addTask {
                        let client = try await gateway.connect()
                        for round in 0..<10 {
                            try await client.send(get("/orders/\(number)-\(round)"))
                            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
                            _ = await client.receive(2)
                        }
                        await client.close()
                    }
                }
                // Connections of the pools are served until all clients have got their answers.
                let servers = Task {
                    await withTaskGroup(of: Void.self) { servers in
                        for _ in 0..<12 {
                            let upstream = await gateway.upstream.accept()
                            servers.addTask {
                                while await upstream.receiveHead().hasPrefix("GET") {
                                    try? await upstream.send(ok("ok"))
                                }
                            }
                        }
                    }
                }
                try await group.waitForAll()
                servers.cancel()
            }
        }
        #expect(records.count == 120)
        #expect(Set(records.map(\.path)).count == 120)
        #expect(Set(records.map(\.requestID)).count == 120)
    }

    @Test("configurations that cannot work are refused with a reason")
    func refusedConfigurations() async throws {
        let changes: [@Sendable (inout GatewayConfiguration) -> Void] = [
            { $0.apis[0].upstreams = [] },
            { $0.apis[0].listenPath = "orders" },
            { $0.apis.append($0.apis[0]) },
            { $0.apis[0].routes = [RouteTemplate(method: nil, path: "x")] },
            { $0.apis[0].upstreams = [UpstreamAddress(host: "h", port: 0)] },
            {
                $0.apis[0].authentication = .key(header: "X-Key")
                $0.credentialKey = [1, 2]
            },
            { $0.apis[0].authentication = .key(header: "X Key") },
            { $0.keys = [GatewayKey(id: "k", credential: .secret(""))] },
            { $0.keys = [GatewayKey(id: "k", credential: .hash([1]))] },
        ]
        for change in changes {
            await #expect(throws: GatewayError.self) {
                try await withGateway(configure: { configuration, _ in change(&configuration) }) {
                    _ in
                }
            }
        }
    }
}
