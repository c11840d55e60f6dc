import Gateway
import Testing

@Suite("Routing")
struct RoutingTests {
    @Test("the longest listen path wins, by whole segments")
    func longestPrefix() {
        var trie = SegmentTrie()
        for (entry, path) in ["/", "/orders/", "/orders/archive/", "/a/b/c/"].enumerated() {
            trie.insert(path, entry: entry, hasTemplates: false)
        }
        let cases: [(String, Int)] = [
            ("/", 0), ("/x", 0), ("/orders", 1), ("/orders/", 1), ("/orders/7", 1), ("/ordersx", 0),
            ("/orders/archive", 2), ("/orders/archive/7", 2), ("/orders/archives", 1), ("/a/b", 0),
            ("/a/b/c", 3), ("/a/b/c/d/e", 3), ("//orders", 0), ("", 0),
        ]
        for (path, entry) in cases {
            #expect(trie.longestPrefix(Array(path.utf8).span) == entry, "\(path)")
        }
        #expect(SegmentTrie().longestPrefix(Array("/x".utf8).span) == nil)
    }

    @Test("templates match whole paths, the first of several wins")
    func templates() {
        let templates = [
            "/orders", "/orders/{id}", "/orders/special", "/orders/{id}/items/{item}", "/files/*",
            "/", "/{any}/fixed",
        ]
        var trie = SegmentTrie()
        for (entry, path) in templates.enumerated() {
            trie.insert(path, entry: entry, hasTemplates: true)
        }
        let cases: [(String, Int?)] = [
            ("/orders", 0), ("/orders/", 0), ("/orders/7", 1), ("/orders/special", 1),
            ("/orders/7/items/8", 3), ("/orders/7/items", nil), ("/orders//items/8", nil),
            ("/files/a", 4), ("/files/a/b/c", 4), ("/files", nil), ("/", 5), ("/x/fixed", 6),
            ("/orders/fixed", 1), ("/nothing", nil), ("/Orders", nil), ("/orders/a%2Fb", 1),
        ]
        for (path, entry) in cases {
            #expect(trie.match(Array(path.utf8).span) { _ in true } == entry, "\(path)")
        }
        #expect(trie.match(Array("/orders/special".utf8).span) { $0 != 1 } == 2)
    }

    @Test("a trie agrees with comparing segment by segment")
    func model() {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        let words = ["a", "b", "{x}", "c"]
        for _ in 0..<200 {
            func path(_ words: [String]) -> String {
                let count = Int.random(in: 0...4, using: &random)
                return "/"
                    + (0..<count).map { _ in words[Int.random(in: 0..<words.count, using: &random)]
                    }
                    .joined(separator: "/")
            }
            let templates = (0..<8).map { _ in path(words) }
            var trie = SegmentTrie()
            for (entry, template) in templates.enumerated() {
                trie.insert(template, entry: entry, hasTemplates: true)
            }
            for _ in 0..<20 {
                let candidate = path(["a", "b", "c", "d"])
                let expected = templates.firstIndex { template in
                    let left = template.split(separator: "/")
                    let right = candidate.split(separator: "/")
                    return left.count == right.count
                        && zip(left, right).allSatisfy { $0 == $1 || $0 == "{x}" }
                }
                #expect(trie.match(Array(candidate.utf8).span) { _ in true } == expected)
            }
        }
    }

    @Test("addresses are read, written in their shortest form, and cut")
    func addresses() throws {
        let cases: [(String, String?, String?)] = [
            ("127.0.0.1", "127.0.0.1", "127.0.0.0"), ("203.0.113.9", "203.0.113.9", "203.0.113.0"),
            ("::1", "::1", "::"), ("2001:db8::5", "2001:db8::5", "2001:db8::"),
            ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1", "2001:db8::"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.0"), ("::", "::", "::"),
            ("1:0:2:0:3:0:4:0", "1:0:2:0:3:0:4:0", "1:0:2::"), ("fe80::", "fe80::", "fe80::"),
            ("256.0.0.1", nil, nil), ("1.2.3", nil, nil), ("1.2.3.4.5", nil, nil),
            ("01.2.3.4", nil, nil),
            ("1.2.3.", nil, nil), ("a.b.c.d", nil, nil), ("", nil, nil), (":", nil, nil),
            (":::", nil, nil),
            ("1::2::3", nil, nil), ("1:2:3:4:5:6:7", nil, nil), ("1:2:3:4:5:6:7:8:9", nil, nil),
            ("12345::", nil, nil), ("g::", nil, nil), ("1.2.3.4 ", nil, nil), ("::1.2.3", nil, nil),
        ]
        for (text, written, cut) in cases {
            let address = NetworkAddress(Array(text.utf8).span)
            #expect(
                address.map { String(decoding: $0.recorded(.full), as: UTF8.self) } == written,
                "\(text)"
            )
            #expect(
                address.map { String(decoding: $0.recorded(.truncated), as: UTF8.self) } == cut,
                "\(text)"
            )
            #expect(address?.recorded(.off).isEmpty ?? true)
        }
        let forwarded: [(String, String?)] = [
            ("203.0.113.9:1234", "203.0.113.9"), ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"), ("2001:db8::1", "2001:db8::1"), ("unknown", nil),
            ("_hidden", nil), ("[::1", nil),
        ]
        for (text, written) in forwarded {
            let address = NetworkAddress(forwarded: Array(text.utf8).span)
            #expect(
                address.map { String(decoding: $0.recorded(.full), as: UTF8.self) } == written,
                "\(text)"
            )
        }
    }

    @Test("ranges contain what their leading bits say")
    func ranges() throws {
        let ten = try #require(AddressRange(address: [10, 0, 0, 0], bits: 8))
        #expect(ten.contains([10, 255, 1, 2]) && !ten.contains([11, 0, 0, 0]))
        let odd = try #require(AddressRange(address: [192, 168, 128, 0], bits: 17))
        #expect(odd.contains([192, 168, 200, 1]) && !odd.contains([192, 168, 127, 1]))
        let all = try #require(AddressRange(address: [0, 0, 0, 0], bits: 0))
        #expect(all.contains([1, 2, 3, 4]) && !all.contains([UInt8](repeating: 0, count: 16)))
        let one = try #require(AddressRange(address: [1, 2, 3, 4], bits: 32))
        #expect(one.contains([1, 2, 3, 4]) && !one.contains([1, 2, 3, 5]))
        #expect(AddressRange(address: [1, 2, 3, 4], bits: 33) == nil)
        #expect(AddressRange(address: [1, 2, 3], bits: 8) == nil)
    }

    @Test("traceparent is taken over only when it is valid")
    func traceparent() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        let id = TraceContext.traceID(Array(good.utf8).span)
        #expect(id?.high == 0x4bf9_2f35_77b3_4da6 && id?.low == 0xa3ce_929d_0e0e_4736)
        let bad = [
            "", "00", String(good.dropLast()), good + "0", good + "-x", good.uppercased(),
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ]
        for text in bad { #expect(TraceContext.traceID(Array(text.utf8).span) == nil, "\(text)") }
        #expect(TraceContext.traceID(Array("01\(good.dropFirst(2))-more".utf8).span) != nil)
    }

    @Test("route templates are read from text")
    func routeText() {
        #expect(RouteTemplate("GET /a/{b}") == RouteTemplate(method: "GET", path: "/a/{b}"))
        #expect(RouteTemplate("/a") == RouteTemplate(method: nil, path: "/a"))
        #expect(
            RouteTemplate("GET a") == nil && RouteTemplate("") == nil
                && RouteTemplate("a b c") == nil
        )
        #expect(RouteTemplate("GET /a")?.name == "GET /a" && RouteTemplate("/a")?.name == "/a")
    }
}
