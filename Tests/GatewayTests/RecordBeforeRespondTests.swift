import EventLog
import FileIO
import FileIOTesting
import Gateway
import Records
import Testing

@Suite("Record before respond", .timeLimit(.minutes(2)))
struct RecordBeforeRespondTests {
    /// Responses of all framings: what may come before the record, and what completes them.
    static let responses: [(head: String, completing: String, closes: Bool, method: String)] = [
        ("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 4\r\n\r\nbod", "y", false, "GET"),
        (
            "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
            "0\r\n\r\n", false, "GET"
        ),
        ("", "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n", false, "GET"),
        ("", "HTTP/1.1 304 Not Modified\r\nDate: x\r\n\r\n", false, "GET"),
        ("", "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n", false, "GET"),
        ("", "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 9\r\n\r\n", false, "HEAD"),
    ]

    @Test("the completing byte waits for the write of the record, what is before it does not")
    func waitsForWrite() async throws {
        for response in Self.responses {
            let files = GatedFiles()
            let records = try await withGateway(fileSystem: files.fileSystem) { gateway in
                try await check(gateway, response, files.writes)
            }
            #expect(records.count == 1)
        }
    }

    @Test("mode strict: the completing byte waits for the sync of the record")
    func waitsForSync() async throws {
        for response in Self.responses {
            let files = GatedFiles()
            let records = try await withGateway(
                fileSystem: files.fileSystem,
                log: { $0.sync = .strict }
            ) {
                gateway in
                try await check(gateway, response, files.syncs)
            }
            #expect(records.count == 1)
        }
    }

    private func check(
        _ gateway: TestGateway,
        _ response: (head: String, completing: String, closes: Bool, method: String),
        _ gate: GatedFiles.Gate
    ) async throws {
        let client = try await gateway.connect()
        try await client.send("\(response.method) /orders/1 HTTP/1.1\r\nHost: h\r\n\r\n")
        let upstream = await gateway.upstream.accept()
        _ = await upstream.receiveHead()
        // All but the end streams through although nothing is recorded.
        try await upstream.send(response.head)
        let before = await client.wait { $0.count >= response.head.utf8.count }
        #expect(String(decoding: before, as: UTF8.self) == response.head)
        gate.close()
        try await upstream.send(response.completing)
        await gate.waitUntilHeld()
        try await client.settle()
        #expect(client.pending == before, "the response was completed before its record was safe")
        #expect(client.ending == .open)
        gate.open()
        let whole = response.head + response.completing
        #expect(await client.receive(whole.utf8.count) == whole)
    }

    @Test("the close that completes a close-delimited response waits for the record")
    func closeWaits() async throws {
        let files = GatedFiles()
        let records = try await withGateway(fileSystem: files.fileSystem) { gateway in
            let client = try await gateway.connect()
            try await client.send("GET /orders/1 HTTP/1.0\r\n\r\n")
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            try await upstream.send("HTTP/1.1 200 OK\r\nDate: x\r\n\r\nbody")
            await client.wait { String(decoding: $0, as: UTF8.self).hasSuffix("body") }
            files.writes.close()
            await upstream.close()
            await files.writes.waitUntilHeld()
            try await client.settle()
            #expect(client.ending == .open)
            files.writes.open()
            #expect(await client.waitForEnd() == .closed)
        }
        #expect(records.map(\.outcome) == [.ok])
    }

    @Test("refusals wait for their records as well")
    func refusalsWait() async throws {
        let files = GatedFiles()
        let records = try await withGateway(fileSystem: files.fileSystem) { gateway in
            let client = try await gateway.connect()
            files.writes.close()
            try await client.send(get("/nowhere"))
            await files.writes.waitUntilHeld()
            try await client.settle()
            #expect(client.pending.isEmpty)
            files.writes.open()
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 404"))
        }
        #expect(records.map(\.status) == [404])
    }

    @Test("a response whose record cannot be written is cut off without its completing byte")
    func writeFails() async throws {
        let files = FaultingFileSystem(MemoryFileSystem())
        try await withGateway(fileSystem: files) { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            files.setPlan(.init(first: 1, isForever: true, calls: ["pwrite", "write"]))
            try await upstream.send(ok("body"))
            #expect(await client.waitForEnd() == .reset)
            #expect(!String(decoding: client.pending, as: UTF8.self).hasSuffix("body"))
            #expect(files.hasFailed)
            #expect(gateway.metric("gateway_log_write_failures_total") == "1")
            files.setPlan(.init())
        }
    }

    @Test("mode strict: a disk that never syncs again costs the response its end, not for ever")
    func syncFailsForGood() async throws {
        let files = FaultingFileSystem(MemoryFileSystem())
        let configure: @Sendable (inout GatewayConfiguration, TestListener) -> Void = {
            configuration,
            _ in
            configuration.timeouts.request = .milliseconds(200)
        }
        let records = try await withGateway(
            fileSystem: files,
            log: { $0.sync = .strict },
            configure: configure
        ) { gateway in
            let client = try await gateway.connect()
            try await client.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            files.setPlan(.init(first: 1, isForever: true, calls: ["fdatasync", "fsync"]))
            try await upstream.send(ok("body"))
            #expect(await client.waitForEnd() == .reset)
            #expect(!String(decoding: client.pending, as: UTF8.self).hasSuffix("body"))
            files.setPlan(.init())
        }
        // The record itself was appended, and becomes durable when the disk recovers.
        #expect(records.map(\.status) == [200])
    }

    @Test("without log space requests are answered 503 before the upstream hears of them")
    func diskFull() async throws {
        let files = MemoryFileSystem()
        let records = try await withGateway(
            fileSystem: files,
            log: {
                $0.segmentBytes = 16 << 10
                $0.startsSyncThread = false
            }
        ) { gateway in
            files.capacity = 0
            let client = try await gateway.connect()
            var refused = 0
            var served = 0
            try await client.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            while refused < 3, served < 1_000 {
                let head = await race(client, upstream)
                if head.hasPrefix("HTTP/1.1 503") {
                    #expect(head.contains("\r\nRetry-After: 1\r\n"))
                    #expect(upstream.pending.isEmpty)
                    refused += 1
                    let body = await client.wait { $0.contains(UInt8(ascii: "}")) }
                    client.take(body.count)
                } else {
                    #expect(head.hasPrefix("HTTP/1.1 200"))
                    served += 1
                }
                try await client.send(get("/orders/1"))
            }
            #expect(served > 0 && refused == 3)
            #expect(gateway.metric("gateway_records_dropped_total{reason=\"log_full\"}") != "0")
        }
        #expect(records.allSatisfy { $0.status == 200 })
    }

    /// Answers the request if it reaches the upstream; returns the head that the client gets.
    private func race(_ client: TestSocket, _ upstream: TestSocket) async -> String {
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                let head = await upstream.wait { $0.count > 4 || !client.pending.isEmpty }
                if head.count > 4 {
                    upstream.take(head.count)
                    try? await upstream.send(ok(""))
                }
            }
            let head = await client.receiveHead()
            upstream.wake()
            return head
        }
    }

    @Test("a client that does not read holds the upstream back, in bounded memory")
    func backpressure() async throws {
        let body = [UInt8](repeating: 0x61, count: 30_000_000)
        let records = try await withGateway { gateway in
            let client = try await gateway.connect(receiveBuffer: 4_096)
            try await client.pauseReading()
            try await client.send(get("/orders/1"))
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            try await upstream.send("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\n\r\n")
            let sending = upstream.sendCounting(body)
            // The kernel's buffers and the gateway's bounded ones fill up, and then nothing moves.
            let stuck = await sending.waitUntilStuck()
            #expect(
                stuck < body.count / 2,
                "\(stuck) bytes were taken for a client that reads none"
            )
            try await client.resumeReading()
            _ = await client.receiveHead()
            let received = await client.wait { $0.count >= body.count }
            #expect(received.count == body.count)
        }
        #expect(records.map(\.outcome) == [.ok])
    }

    @Test("an upstream that does not read holds the client back")
    func uploadBackpressure() async throws {
        let body = [UInt8](repeating: 0x61, count: 30_000_000)
        let records = try await withGateway { gateway in
            let client = try await gateway.connect()
            try await client.send(
                "POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: \(body.count)\r\n\r\n"
            )
            let upstream = await gateway.upstream.accept()
            _ = await upstream.receiveHead()
            try await upstream.pauseReading()
            let sending = client.sendCounting(body)
            let stuck = await sending.waitUntilStuck()
            #expect(
                stuck < body.count / 2,
                "\(stuck) bytes were taken for an upstream that reads none"
            )
            try await upstream.resumeReading()
            _ = await upstream.wait { $0.count >= body.count }
            try await upstream.send(ok(""))
            #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
        }
        #expect(records.map(\.status) == [200])
    }
}
