import Gateway
import Records
import Testing

@Suite("Proxy", .timeLimit(.minutes(2)))
struct ProxyTests {
    @Test("a request is forwarded, answered and recorded once")
    func simple() async throws {
        let request = get("/orders/7?secret=1", "User-Agent: curl/8.0\r\n")
        let response = ok("hello", "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Up: 1\r\n")
        let records = try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send(request)
            let upstream = await gateway.upstream.accept()
            let head = await upstream.receiveHead()
            #expect(head.hasPrefix("GET /orders/7?secret=1 HTTP/1.1\r\n"))
            #expect(head.contains("\r\nHost: 127.0.0.1:\(gateway.upstream.port)\r\n"))
            #expect(head.contains("\r\nUser-Agent: curl/8.0\r\n"))
            #expect(head.contains("\r\nX-Forwarded-For: 127.0.0.1\r\n"))
            #expect(head.contains("\r\nX-Forwarded-Proto: http\r\n"))
            #expect(head.contains("\r\nX-Forwarded-Host: api.example\r\n"))
            #expect(head.contains("\r\ntraceparent: 00-"))
            try await upstream.send(response)
            let answer = await client.receive(response.utf8.count)
            #expect(answer == response)
            #expect(gateway.metric("gateway_requests_total{outcome=\"ok\"}") == "1")
            #expect(gateway.metric("gateway_requests_in_flight") == "0")
        }
        let record = try #require(records.first)
        #expect(records.count == 1)
        #expect(record.org == "acme" && record.api == "orders" && record.apiVersion == "v1")
        #expect(record.route == "GET /orders/{id}" && record.method == "GET")
        #expect(record.status == 200 && record.upstreamStatus == 200 && record.outcome == .ok)
        #expect(record.requestBytes == UInt64(request.utf8.count))
        #expect(record.responseBytes == UInt64(response.utf8.count))
        #expect(record.path == "/orders/7" && record.query.isEmpty && record.host == "api.example")
        #expect(record.scheme == "http" && record.clientIP == "127.0.0.1")
        #expect(record.userAgent == "curl/8.0" && record.userAgentFamily == "curl")
        #expect(record.node == "test" && record.region == "here")
        #expect(record.upstreamAddress.hasPrefix("127.0.0.1:") && record.retryCount == 0)
        let duration = try #require(record.durationUS)
        let upstream = try #require(record.upstreamDurationUS)
        #expect(record.gatewayDurationUS == duration - upstream)
        #expect(try #require(record.upstreamFirstByteUS) <= upstream)
        #expect(try #require(record.upstreamConnectUS) <= upstream)
        #expect(record.completedAt - record.startedAt == Int64(duration))
        #expect(record.traceID.count == 16 && record.requestID.count == 16)
    }

    @Test("one upstream connection serves many requests, and many clients")
    func keepAlive() async throws {
        let records = try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            for number in 1...20 {
                if number > 1 { try await client.send(get("/orders/\(number)")) }
                let head = await upstream.receiveHead()
                #expect(head.hasPrefix("GET /orders/\(number) "))
                try await upstream.send(ok("\(number)"))
                #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200 OK"))
                #expect(await client.receive("\(number)".count) == "\(number)")
            }
            let other = try await gateway.connect()
            try await other.send(get("/orders/21"))
            #expect(await upstream.receiveHead().hasPrefix("GET /orders/21 "))
            try await upstream.send(ok("x"))
            _ = await other.receiveHead()
            #expect(gateway.upstream.count == 1)
        }
        #expect(records.map(\.path) == (1...21).map { "/orders/\($0)" })
        #expect(records.dropFirst().allSatisfy { $0.upstreamConnectUS == nil })
    }

    @Test("pipelined requests are answered in order, also when they are refused")
    func pipelining() async throws {
        let records = try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send(
                get("/orders/1") + get("/nowhere") + get("/orders/2") + get("/livez")
                    + get("/orders/3")
            )
            let upstream = await gateway.upstream.accept()
            for number in 1...3 {
                #expect(await upstream.receiveHead().hasPrefix("GET /orders/\(number) "))
                #expect(upstream.pending.isEmpty)
                try await upstream.send(ok("\(number)"))
            }
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            #expect(await client.receive(1) == "1")
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 404"))
            let problem = await client.wait { $0.contains(UInt8(ascii: "}")) }
            client.take(problem.firstIndex(of: UInt8(ascii: "}")).map { $0 + 1 } ?? 0)
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            #expect(await client.receive(1) == "2")
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            #expect(await client.receive(3) == "ok\n")
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            #expect(await client.receive(1) == "3")
        }
        // The health check leaves no record.
        #expect(records.map(\.status) == [200, 404, 200, 200])
        #expect(records.map(\.outcome) == [.ok, .clientError, .ok, .ok])
        #expect(records[1].api.isEmpty && records[1].org.isEmpty)
        #expect(records[1].route == "__unmatched__")
    }

    @Test("a request that arrives byte by byte is the same request")
    func dripping() async throws {
        let request =
            "POST /orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            + "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
        let records = try await withGateway { gateway in
            let client = try await gateway.connect()
            for byte in request.utf8 { try await client.send([byte]) }
            let upstream = await gateway.upstream.accept()
            let head = await upstream.receiveHead()
            #expect(head.contains("\r\nTransfer-Encoding: chunked\r\n"))
            let end = await upstream.wait {
                $0.suffix(10).elementsEqual(Array("X-T: 1\r\n\r\n".utf8))
            }
            #expect(decodeChunks(end).data == Array("abc".utf8))
            let response = ok("done")
            for byte in response.utf8 { try await upstream.send([byte]) }
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            #expect(await client.receive(4) == "done")
        }
        #expect(records.map(\.requestBytes) == [UInt64(request.utf8.count)])
        #expect(records.first?.route == "/orders")
    }

    @Test("chunked, close-delimited and bodiless responses keep their meaning for both versions")
    func framings() async throws {
        /// What the upstream sends, whether it then closes, and what clients of 1.1 and 1.0 get.
        let cases: [(response: String, closes: Bool, body: String, status: Int, method: String)] = [
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
                false, "abcde", 200, "GET"
            ),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", true, "abc", 200, "GET"),
            ("HTTP/1.0 200 OK\r\n\r\nabc", true, "abc", 200, "GET"),
            ("HTTP/1.1 200 OK\r\n\r\n", true, "", 200, "GET"),
            ("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", false, "", 204, "GET"),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", false, "", 204, "GET"),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", false, "", 304, "GET"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", false, "", 200, "HEAD"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, "", 200, "HEAD"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, "", 200, "GET"),
            ("HTTP/1.1 404 \r\nContent-Length: 2\r\n\r\nno", false, "no", 404, "GET"),
            (
                "HTTP/1.1 103 Early\r\nX: 1\r\n\r\nHTTP/1.1 500 x\r\nContent-Length: 1\r\n\r\n!",
                false, "!", 500, "GET"
            ),
        ]
        let records = try await withGateway { gateway in
            for entry in cases {
                for version in ["1.1", "1.0"] {
                    let client = try await gateway.connect()
                    try await client.send(
                        "\(entry.method) /orders/1 HTTP/\(version)\r\nHost: h\r\n"
                            + "Connection: close\r\n\r\n"
                    )
                    let upstream = await gateway.upstream.accept()
                    _ = await upstream.receiveHead()
                    try await upstream.send(entry.response)
                    if entry.closes { try await upstream.closeOutput() }
                    let whole = await client.receiveAll()
                    var (head, body) = splitHead(whole)
                    if head.hasPrefix("HTTP/1.1 103") {
                        #expect(version == "1.1")
                        (head, body) = splitHead(body)
                    }
                    #expect(head.hasPrefix("HTTP/1.1 \(entry.status) "), "\(entry) \(version)")
                    if head.contains("Transfer-Encoding: chunked") {
                        #expect(version == "1.1" && entry.method != "HEAD")
                        let decoded = decodeChunks(Array(body.utf8))
                        #expect(decoded.isComplete && decoded.surplus == 0)
                        body = String(decoding: decoded.data, as: UTF8.self)
                    }
                    #expect(body == entry.body, "\(entry) \(version)")
                    #expect(client.ending == .closed)
                    if !entry.closes { await upstream.close() }
                }
            }
        }
        #expect(records.count == cases.count * 2)
        for (number, record) in records.enumerated() {
            #expect(record.status == UInt32(cases[number / 2].status))
            #expect(record.method == cases[number / 2].method)
        }
    }

    @Test("trailers reach a client that speaks HTTP/1.1, framing fields among them do not")
    func trailers() async throws {
        try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/1", "TE: trailers\r\n"))
            let upstream = await gateway.upstream.accept()
            #expect(await upstream.receiveHead().contains("\r\nTE: trailers\r\nConnection: TE\r\n"))
            try await upstream.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                    + "1\r\na\r\n0\r\nX-Sum: 42\r\nContent-Length: 9\r\n\r\n"
            )
            #expect(await client.receiveHead().contains("Trailer: X-Sum\r\n"))
            let end = "1\r\na\r\n0\r\nX-Sum: 42\r\n\r\n"
            #expect(await client.receive(end.utf8.count) == end)
        }
    }

    @Test("hop-by-hop fields stay behind in both directions")
    func hopByHop() async throws {
        try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send(
                get(
                    "/orders/1",
                    "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
                        + "Upgrade: h2c\r\nHTTP2-Settings: x\r\nProxy-Connection: x\r\n"
                        + "Proxy-Authorization: Basic x\r\n"
                        + "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil\r\nX-Keep: 1\r\n"
                )
            )
            let upstream = await gateway.upstream.accept()
            let head = await upstream.receiveHead()
            for name in [
                "X-Hop", "Keep-Alive", "Upgrade", "HTTP2-Settings", "Proxy-Connection",
                "Proxy-Authorization", "1.2.3.4", "evil", "Connection",
            ] {
                #expect(!head.contains(name), "\(name)")
            }
            #expect(head.contains("\r\nX-Keep: 1\r\n"))
            try await upstream.send(
                ok(
                    "",
                    "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\nUpgrade: h2c\r\n"
                        + "X-Keep: 1\r\n"
                )
            )
            let answer = await client.receiveHead()
            #expect(
                !answer.contains("X-Hop") && !answer.contains("Keep-Alive")
                    && !answer.contains("Upgrade")
            )
            #expect(answer.contains("\r\nX-Keep: 1\r\n") && answer.contains("\r\nDate: "))
        }
    }

    @Test("the listen path is taken off when asked, and the rest stays as it is")
    func strip() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            configuration.apis[0].stripsListenPath = true
        }
        try await withGateway(configure: configure) { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/a/b?c=d"))
            let upstream = await gateway.upstream.accept()
            for (next, expected) in [
                ("/orders", "/a/b?c=d"), ("/orders?x", "/"), ("http://h/orders/", "/?x"), ("", "/"),
            ] {
                #expect(await upstream.receiveHead().hasPrefix("GET \(expected) HTTP/1.1\r\n"))
                try await upstream.send(ok(""))
                _ = await client.receiveHead()
                if !next.isEmpty { try await client.send(get(next)) }
            }
        }
    }

    @Test("API keys are found by their hash, recorded by it, and not forwarded")
    func keys() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            configuration.apis[0].authentication = .key(header: "X-Api-Key")
            var key = GatewayKey(id: "k1", credential: .secret("the-secret"))
            key.application = "shop"
            key.plan = "gold"
            key.developer = "ann"
            var foreign = GatewayKey(id: "k2", credential: .secret("foreign"))
            foreign.org = "other"
            configuration.keys = [key, foreign]
        }
        let records = try await withGateway(configure: configure) { gateway in
            let client = try await gateway.connect()
            for fields in [
                "", "X-Api-Key: wrong\r\n", "X-Api-Key: foreign\r\n", "X-Api-Key: \r\n",
                "X-Api-Key: the-secret\r\nX-Api-Key: the-secret\r\n",
            ] {
                try await client.send(get("/orders/1", fields))
                let head = await client.receiveHead()
                #expect(head.hasPrefix("HTTP/1.1 401 ") && head.contains("WWW-Authenticate:"))
                let body = await client.wait { $0.contains(UInt8(ascii: "}")) }
                client.take(body.count)
            }
            try await client.send(get("/orders/1", "x-API-key: the-secret\r\n"))
            let upstream = await gateway.upstream.accept()
            #expect(!(await upstream.receiveHead()).contains("the-secret"))
            try await upstream.send(ok(""))
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            #expect(gateway.upstream.count == 1)
        }
        #expect(records.count == 6)
        #expect(records.dropLast().allSatisfy { $0.outcome == .authFailed && $0.keyID.isEmpty })
        let good = try #require(records.last)
        #expect(good.application == "shop" && good.plan == "gold" && good.developer == "ann")
        #expect(good.keyID.count == 32 && good.keyID.allSatisfy(\.isHexDigit))
        #expect(records.allSatisfy { $0.api == "orders" && $0.org == "acme" })
    }

    @Test("trusted proxies speak for their clients, others do not")
    func trustedProxies() async throws {
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            configuration.trustedProxies = [
                AddressRange(address: [127, 0, 0, 0], bits: 8),
                AddressRange(address: [10, 0, 0, 0], bits: 8),
            ].compactMap { $0 }
            configuration.clientAddressPolicy = .truncated
        }
        let fields = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 203.0.113.9, 10.1.2.3\r\n"
        let records = try await withGateway(configure: configure) { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/1", fields + "X-Forwarded-Proto: https\r\n"))
            let upstream = await gateway.upstream.accept()
            let head = await upstream.receiveHead()
            #expect(
                head.contains("\r\nX-Forwarded-For: 1.1.1.1, 203.0.113.9, 10.1.2.3, 127.0.0.1\r\n")
            )
            #expect(head.contains("\r\nX-Forwarded-Proto: https\r\n"))
            try await upstream.send(ok(""))
            _ = await client.receiveHead()
        }
        #expect(records.map(\.clientIP) == ["203.0.113.0"])
        #expect(records.map(\.scheme) == ["https"])
    }

    @Test("a trace goes on, a broken one begins anew")
    func traces() async throws {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        let records = try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/1", "traceparent: \(good)\r\n"))
            let upstream = await gateway.upstream.accept()
            #expect(await upstream.receiveHead().contains("\r\ntraceparent: \(good)\r\n"))
            try await upstream.send(ok(""))
            _ = await client.receiveHead()
            try await client.send(get("/orders/1", "traceparent: x\r\n"))
            let head = await upstream.receiveHead()
            #expect(!head.contains("traceparent: x\r\n") && head.contains("\r\ntraceparent: 00-"))
            try await upstream.send(ok(""))
            _ = await client.receiveHead()
        }
        let expected: [UInt8] = [
            0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e,
            0x47, 0x36,
        ]
        #expect(records[0].traceID == expected && records[1].traceID != expected)
    }

    @Test("100-continue is asked of the upstream, and its answer passed on")
    func expectation() async throws {
        let records = try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send(
                "POST /orders HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                    + "Content-Length: 4\r\n\r\n"
            )
            let upstream = await gateway.upstream.accept()
            #expect(await upstream.receiveHead().contains("\r\nExpect: 100-continue\r\n"))
            try await upstream.send("HTTP/1.1 100 Continue\r\n\r\n")
            #expect(await client.receiveHead() == "HTTP/1.1 100 Continue\r\n\r\n")
            try await client.send("body")
            #expect(await upstream.receive(4) == "body")
            try await upstream.send(ok(""))
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            try await client.send(get("/orders/1", "Expect: a-miracle\r\n"))
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 417"))
        }
        #expect(records.map(\.status) == [200, 417])
    }

    @Test("a large body flows both ways unchanged")
    func largeBodies() async throws {
        let body = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        let records = try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send(
                "POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: \(body.count)\r\n\r\n"
            )
            client.beginSending(body)
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            let received = await upstream.wait { $0.count >= body.count }
            #expect(received == body)
            try await upstream.send("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\n\r\n")
            upstream.beginSending(body)
            _ = await client.receiveHead()
            let echoed = await client.wait { $0.count >= body.count }
            #expect(echoed == body)
        }
        #expect(records.count == 1)
        #expect(try #require(records.first).requestBytes > UInt64(body.count))
        #expect(try #require(records.first).responseBytes > UInt64(body.count))
    }
}

/// Text before and behind the first empty line, the head with it.
func splitHead(_ text: String) -> (head: String, body: String) {
    guard let end = text.firstRange(of: "\r\n\r\n") else { return (text, "") }
    return (String(text[..<end.upperBound]), String(text[end.upperBound...]))
}
