import Gateway
import Records
import Testing

/// Tags that the gateway gives to records.
@Suite("Tags", .timeLimit(.minutes(5)))
struct TagTests {
    @Test(
        "what a client sends becomes clean text of limited length",
        arguments: [
            ("eu-1", "eu-1"), ("", nil), ("   ", nil), ("a\tb", "a b"), ("\t a \u{85}", "a"),
            ("0123456789", "01234567"), ("1234567é", "1234567"), ("123456é9", "123456é"),
            ("__other__", nil), ("  __x", nil), ("_x", "_x"), ("1234567 9", "1234567"),
        ] as [(String, String?)]
    )
    func cleaned(_ text: String, _ expected: String?) {
        let found = TagValue.cleaned(Array(text.utf8).span, bytesMax: 8)
        #expect(found == expected.map { Array($0.utf8) })
    }

    @Test("bytes that are no UTF-8 are replaced, within the limit")
    func repaired() {
        let bytes: [UInt8] = [0x61, 0xFF, 0x62, 0xC3]
        let text = TagValue.cleaned(bytes.span, bytesMax: 9) ?? []
        #expect(String(decoding: text, as: UTF8.self) == "a\u{FFFD}b\u{FFFD}")
        #expect(TagValue.cleaned(bytes.span, bytesMax: 3) == [0x61])
        let long = [UInt8](repeating: 0xFF, count: 1_000)
        #expect((TagValue.cleaned(long.span, bytesMax: 64)?.count ?? 0) == 63)
    }

    @Test("records have the tags of their API, fixed ones and those of fields, refused or not")
    func records() async throws {
        let records = try await withGateway(
            configure: { configuration, _ in
                configuration.apis[0].tags = [
                    GatewayTag(name: "team", source: .fixed("payments")),
                    GatewayTag(name: "tenant", source: .header("X-Tenant", bytesMax: 8)),
                    GatewayTag(name: "tier", source: .header("x-tier", bytesMax: 64)),
                ]
            },
            { gateway in
                let client = try await gateway.connect()
                try await client.send(get("/orders/1", "x-tenant:  t1 \r\nX-TIER: gold\r\n"))
                let upstream = await gateway.upstream.accept()
                let head = await upstream.receiveHead()
                #expect(head.contains("\r\nx-tenant:  t1 \r\n"), "the field goes on")
                try await upstream.send(ok(""))
                _ = await client.receiveHead()
                for fields in [
                    "X-Tenant: a-rather-long-one\r\nX-Tenant: t2\r\n",
                    "X-Tenant: __other__\r\n", "",
                    "Expect: the-impossible\r\nX-Tenant: t3\r\n",
                ] {
                    try await client.send(get("/orders/2", fields))
                    if !fields.hasPrefix("Expect") {
                        _ = await upstream.receiveHead()
                        try await upstream.send(ok(""))
                    }
                    _ = await client.receiveHead()
                }
                let other = try await gateway.connect()
                try await other.send(get("/nowhere", "X-Tenant: t1\r\n"))
                _ = await other.receiveHead()
            }
        )
        let tags = records.map { $0.tags.map { "\($0.key)=\($0.value)" } }
        #expect(tags.count == 6)
        #expect(tags.contains(["team=payments", "tenant=t1", "tier=gold"]))
        #expect(tags.contains(["team=payments", "tenant=a-rather"]), "cut, and the first field")
        #expect(tags.contains(["team=payments", "tenant=t3"]), "refused requests have them too")
        #expect(tags.count { $0 == ["team=payments"] } == 2)
        #expect(tags.contains([]), "no API, no tags")
    }

    @Test("tags of the greatest length fit into the space that was reserved for the record")
    func longest() async throws {
        let value = String(repeating: "v", count: 256)
        let name = String(repeating: "n", count: 57)
        let records = try await withGateway(
            configure: { configuration, _ in
                configuration.apis[0].tags = (10..<26).map { number in
                    GatewayTag(name: name + "\(number)", source: .header("X-T", bytesMax: 256))
                }
            },
            { gateway in
                let client = try await gateway.connect()
                try await client.send(get("/orders/1", "X-T: \(value)\r\n"))
                let upstream = await gateway.upstream.accept()
                _ = await upstream.receiveHead()
                try await upstream.send(ok(""))
                #expect(await client.receiveHead().hasPrefix("HTTP/1.1 200"))
            }
        )
        #expect(records.first?.tags.count == 16)
        #expect(records.first?.tags.allSatisfy { $0.value == value } == true)
    }
}
