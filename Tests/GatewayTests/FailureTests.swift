import EventLog
import FileIO
import FileIOTesting
import Gateway
import Records
import Testing

@Suite("Failures", .timeLimit(.minutes(2)))
struct FailureTests {
    @Test("a malformed request is answered, its connection closed, and it leaves one record")
    func malformed() async throws {
        let cases: [(String, Int)] = [
            ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            (
                "POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
                    + "Transfer-Encoding: chunked\r\n\r\n",
                400
            ),
            (
                "POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
                    + "Content-Length: 2\r\n\r\n",
                400
            ),
            ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505), ("\u{16}\u{3}\u{1}\u{2}", 400),
            ("GET /\(String(repeating: "a", count: 9_000)) HTTP/1.1\r\n", 414),
            ("GET / HTTP/1.1\r\nHost: a\r\n\(String(repeating: "X: y\r\n", count: 200))\r\n", 431),
            ("GET /orders/../x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413),
        ]
        let records = try await withGateway { gateway in
            for (request, status) in cases {
                let client = try await gateway.connect()
                try await client.send(request + get("/orders/smuggled"))
                let answer = await client.receiveAll()
                let (head, body) = splitHead(answer)
                #expect(head.hasPrefix("HTTP/1.1 \(status) "), "\(request.prefix(60))")
                #expect(head.contains("\r\nConnection: close\r\n"))
                #expect(body.hasPrefix("{") && body.hasSuffix("}"))
                #expect(client.ending == .closed)
                await client.close()
            }
            // Nothing of all this has reached the upstream.
            #expect(gateway.upstream.count == 0)
        }
        #expect(records.map(\.status) == cases.map { UInt32($0.1) })
        #expect(records.dropLast().allSatisfy { $0.outcome == .clientError })
        #expect(records.last?.outcome == .tooLarge)
    }

    @Test("bad chunks and chunks beyond the limit are refused before they are whole")
    func badBodies() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            configuration.limits.bodyBytesMax = 10
        }
        let records = try await withGateway(configure: configure) { gateway in
            let head = "POST /orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            for (body, status) in [
                ("5\r\nhello\r\nx", 400), ("b\r\nhello world\r\n0\r\n\r\n", 413),
            ] {
                let client = try await gateway.connect()
                try await client.send(head + body)
                #expect(await client.receiveAll().hasPrefix("HTTP/1.1 \(status) "))
                let upstream = await gateway.upstream.accept()
                await upstream.waitForEnd()
                #expect(!String(decoding: upstream.pending, as: UTF8.self).hasSuffix("0\r\n\r\n"))
                await client.close()
            }
        }
        #expect(records.map(\.status) == [400, 413])
        #expect(records.map(\.outcome) == [.clientError, .tooLarge])
    }

    @Test("connections that send nothing leave no record")
    func silentClients() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            configuration.timeouts.request = .milliseconds(50)
            configuration.timeouts.idle = .milliseconds(50)
        }
        let records = try await withGateway(configure: configure) { gateway in
            let silent = try await gateway.connect()
            #expect(await silent.receiveAll().isEmpty)
            let blank = try await gateway.connect()
            try? await blank.send("\r\n")
            #expect(await blank.receiveAll().isEmpty)
            let gone = try await gateway.connect()
            await gone.close()
        }
        #expect(records.isEmpty)
    }

    @Test("a half-sent head leaves one record, whether the client is slow or gone")
    func partialHeads() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            configuration.timeouts.request = .milliseconds(50)
        }
        let slow = try await withGateway(configure: configure) { gateway in
            let client = try await gateway.connect()
            try await client.send("GET /orders/1 HT")
            #expect(await client.receiveAll().hasPrefix("HTTP/1.1 408 "))
        }
        #expect(slow.map(\.outcome) == [.clientError])
        #expect(slow.map(\.status) == [408])
        #expect(slow.map(\.requestBytes) == [16])
        let gone = try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send("GET /orders/1 HT")
            try await client.closeOutput()
            await client.waitForEnd()
        }
        #expect(gone.map(\.outcome) == [.clientAborted])
        #expect(gone.map(\.status) == [nil])
        #expect(gone.map(\.requestBytes) == [16])
    }

    @Test("an upstream that breaks off inside a response resets the client's connection")
    func cutOff() async throws {
        let heads = [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ]
        let records = try await withGateway { gateway in
            for head in heads {
                for ending in ["close", "reset", "nonsense"]
                where ending != "nonsense" || head.contains("chunked") {
                    let client = try await gateway.connect()
                    try await client.send(get("/orders/1"))
                    let upstream = await gateway.upstream.accept()
                    _ = await upstream.receiveHead()
                    try await upstream.send(head)
                    await client.wait {
                        $0.suffix(20).split(separator: 0x0A).last?.starts(with: Array("half".utf8))
                            ?? false
                    }
                    switch ending {
                    case "reset": try await upstream.reset()
                    case "nonsense": try await upstream.send("nonsense")
                    default: await upstream.close()
                    }
                    #expect(await client.waitForEnd() == .reset)
                    #expect(!String(decoding: client.pending, as: UTF8.self).hasSuffix("0\r\n\r\n"))
                }
            }
        }
        #expect(records.count == heads.count * 2 + 1)
        for record in records {
            #expect(
                record.outcome == .upstreamError && record.status == 200
                    && record.upstreamStatus == 200
            )
            #expect(record.responseBytes > 0)
        }
    }

    @Test("a close-delimited response that ends with a reset is not complete")
    func closeDelimitedReset() async throws {
        let records = try await withGateway { gateway in
            for version in ["1.0", "1.1"] {
                let client = try await gateway.connect()
                try await client.send("GET /orders/1 HTTP/\(version)\r\nHost: h\r\n\r\n")
                let upstream = await gateway.upstream.accept()
                _ = await upstream.receiveHead()
                try await upstream.send("HTTP/1.1 200 OK\r\n\r\nhalf")
                await client.wait { String(decoding: $0, as: UTF8.self).contains("half") }
                try await upstream.reset()
                #expect(await client.waitForEnd() == .reset)
            }
        }
        #expect(records.map(\.outcome) == [.upstreamError, .upstreamError])
    }

    @Test("upstreams that answer nonsense, nothing or not at all are told apart")
    func badUpstreams() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            var down = GatewayAPI(
                id: "down",
                org: "acme",
                listenPath: "/down/",
                upstreams: [UpstreamAddress(host: "127.0.0.1", port: TestGateway.refusingPort)]
            )
            down.version = "v1"
            configuration.apis.append(down)
        }
        let records = try await withGateway(configure: configure) { gateway in
            let client = try await gateway.connect()
            func status() async -> String {
                let head = await client.receiveHead()
                let body = await client.wait { $0.contains(UInt8(ascii: "}")) }
                client.take(body.count)
                return String(head.dropFirst(9).prefix(3))
            }
            try await client.send(get("/down/1"))
            #expect(await status() == "502")
            for nonsense in [
                "hello\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                "HTTP/1.1 101 Switching\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nbroken",
            ] {
                try await client.send(get("/orders/1"))
                let upstream = await gateway.upstream.accept()
                _ = await upstream.receiveHead()
                try await upstream.send(nonsense)
                #expect(await status() == "502", "\(nonsense)")
                await upstream.waitForEnd()
            }
            try await client.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            await upstream.close()
            #expect(await status() == "502")
        }
        #expect(
            records.map(\.outcome) == [
                .upstreamUnreachable, .upstreamError, .upstreamError, .upstreamError,
                .upstreamError,
                .upstreamError,
                .upstreamError,
            ]
        )
        #expect(records.map(\.status) == [502, 502, 502, 502, 502, 502, 502])
        #expect(records.first?.upstreamAddress == "127.0.0.1:\(TestGateway.refusingPort)")
    }

    @Test("an upstream that says nothing in time is answered 504")
    func silentUpstream() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            configuration.timeouts.firstByte = .milliseconds(100)
        }
        let records = try await withGateway(configure: configure) { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 504"))
            await upstream.waitForEnd()
        }
        #expect(records.map(\.outcome) == [.upstreamTimeout])
        #expect(try #require(records.first?.upstreamDurationUS) >= 100_000)
        #expect(records.first?.upstreamStatus == nil && records.first?.upstreamFirstByteUS == nil)
    }

    @Test("an upstream that stops in the middle of its response resets the client's connection")
    func stallingUpstream() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            configuration.timeouts.betweenBytes = .milliseconds(100)
        }
        let records = try await withGateway(configure: configure) { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            try await upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            #expect(await client.waitForEnd() == .reset)
            #expect(String(decoding: client.pending, as: UTF8.self).hasSuffix("half"))
        }
        #expect(records.map(\.outcome) == [.upstreamTimeout])
        #expect(records.map(\.status) == [200])
    }

    @Test(
        "a request is sent again if a reused connection died in silence and nothing changes by it"
    )
    func retry() async throws {
        let records = try await withGateway { gateway in
            let client = try await gateway.connect()
            var upstream = try await warm(gateway, client)
            // The connection dies when the next request comes: a GET is sent again.
            try await client.send(get("/orders/retried"))
            _ = await upstream.receiveHead()
            await upstream.close()
            upstream = await gateway.upstream.accept()
            #expect(await upstream.receiveHead().hasPrefix("GET /orders/retried "))
            try await upstream.send(ok("x"))
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            _ = await client.receive(1)
            // A POST is not.
            try await client.send("POST /orders HTTP/1.1\r\nHost: h\r\n\r\n")
            _ = await upstream.receiveHead()
            await upstream.close()
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 502"))
            let body = await client.wait { $0.contains(UInt8(ascii: "}")) }
            client.take(body.count)
            // Nor is anything once a byte of the response has come.
            upstream = try await warm(gateway, client)
            try await client.send(get("/orders/begun"))
            _ = await upstream.receiveHead()
            try await upstream.send("H")
            await upstream.close()
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 502"))
            #expect(gateway.metric("gateway_upstream_retries_total") == "1")
        }
        #expect(records.map(\.status) == [200, 200, 502, 200, 502])
        #expect(records.map(\.retryCount) == [0, 1, 0, 0, 0])
    }

    /// Sends one request over a fresh upstream connection, which is then pooled.
    private func warm(_ gateway: TestGateway, _ client: TestSocket) async throws -> TestSocket {
        try await client.send(get("/orders/warm"))
        let upstream = await gateway.upstream.accept()
        _ = await upstream.receiveHead()
        try await upstream.send(ok("w"))
        _ = await client.receiveHead()
        _ = await client.receive(1)
        return upstream
    }

    @Test("requests go round robin, and past an upstream that cannot be reached")
    func severalUpstreams() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            listener in
            // However slow the machine is.
            configuration.timeouts.upstreamRest = .seconds(3_600)
            configuration.apis[0].upstreams = [
                UpstreamAddress(host: "127.0.0.1", port: TestGateway.refusingPort),
                UpstreamAddress(host: "127.0.0.1", port: listener.port),
            ]
        }
        let records = try await withGateway(configure: configure) { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            for number in 1...4 {
                if number > 1 { try await client.send(get("/orders/\(number)")) }
                _ = await upstream.receiveHead()
                try await upstream.send(ok(""))
                #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            }
        }
        // Only the first request tried the one that is down; it rests afterwards.
        #expect(records.map(\.retryCount) == [1, 0, 0, 0])
        #expect(records.allSatisfy { $0.outcome == .ok })
    }

    @Test("clients that go away are recorded as such, wherever the exchange stands")
    func aborts() async throws {
        let records = try await withGateway { gateway in
            // While the upstream thinks.
            for isReset in [false, true] {
                let client = try await gateway.connect()
                try await client.send(get("/orders/waiting"))
                let upstream = await gateway.upstream.accept()
                _ = await upstream.receiveHead()
                if isReset { try await client.reset() } else { await client.close() }
                #expect(await upstream.waitForEnd() != .open)
            }
            // Inside the response.
            var client = try await gateway.connect()
            try await client.send(get("/orders/half"))
            var upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            try await upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            _ = await client.receiveHead()
            try await client.reset()
            #expect(await upstream.waitForEnd() != .open)
            // Inside the request.
            client = try await gateway.connect()
            try await client.send(
                "POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf"
            )
            upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            try await client.reset()
            #expect(await upstream.waitForEnd() != .open)
        }
        #expect(
            records.map(\.outcome) == [
                .clientAborted, .clientAborted, .clientAborted, .clientAborted,
            ]
        )
        #expect(records.map(\.status) == [nil, nil, 200, nil])
    }

    @Test(
        "requests in flight finish during a shutdown, those that do not are recorded all the same"
    )
    func drain() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            configuration.timeouts.drain = .milliseconds(100)
        }
        let records = try await withGateway(configure: configure) { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/stuck"))
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
        }
        #expect(records.map(\.outcome) == [.gatewayError])
    }

    @Test("too many client connections are turned away")
    func connectionLimit() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            configuration.limits.clientConnectionsMax = 2
        }
        let records = try await withGateway(configure: configure) { gateway in
            let first = try await gateway.connect()
            let second = try await gateway.connect()
            try await first.send(get("/livez"))
            try await second.send(get("/livez"))
            _ = await first.receiveHead()
            _ = await second.receiveHead()
            let third = try await gateway.connect()
            #expect(await third.receiveAll().isEmpty)
            #expect(gateway.metric("gateway_client_connections_refused_total") == "1")
        }
        #expect(records.isEmpty)
    }
}
