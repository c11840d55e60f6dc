import SluiceConfiguration
import Testing

@Suite("Fuzz")
struct FuzzTests {
    private struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ (state >> 29)
        }
    }

    private static let seeds = [
        "node: a\nlog: { sync: strict, sync_interval: 10ms, retain: {age: 7d, bytes: 5GiB} }\n",
        "gateway:\n  listen: 127.0.0.1:0\n  trusted_proxies: [10.0.0.0/8, '::1']\n  apis:\n"
            + "    - \(goodAPI)\n    - id: b\n      routes: [\"GET /b/{x}\", /b/*]\n"
            + "  keys:\n    - &k {id: k, secret: 'env:K'}\n    - *k\n",
        "kafka: {client: {acks: all}}\npump: {sinks: [{name: n, type: kafka, filter: [x]}]}\n",
        "transport: kafka\nkafka: {brokers: ['[::1]:9', b], client: {sasl.password: 'env:P'}}\n"
            + "pump:\n  sinks:\n    - {name: f, type: file, path: x, retry: {delay_max: 1s}}\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n? [1, 2]\n: !!binary aGk=\n<<: {node: x}\n",
        "node: |\n  text\n  more\nregion: >-\n  folded\n# comment\ndata: \"\\u0041\\x41\"\n",
    ]

    @Test("no mutation of a configuration crashes the loader", .timeLimit(.minutes(2)))
    func mutations() {
        let seed: UInt64 = 20_260_101
        print("seed \(seed)")
        var random = Generator(state: seed)
        let pieces = [
            "{", "}", "[", "]", ": ", "- ", "\n", "&x ", "*x", "!!", "\"", "'", "|", ">", "%",
            "\u{0}",
            "\u{FEFF}", "\u{85}", "é", "listen: ", "listen: ", "?", "\t", "---\n", "\r",
            "99999999999999999999",
        ]
        for round in 0..<10_000 {
            var bytes = Array(Self.seeds[round % Self.seeds.count].utf8)
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let at = Int.random(in: 0...bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0:
                    let piece = pieces[Int.random(in: 0..<pieces.count, using: &random)]
                    bytes.insert(contentsOf: piece.utf8, at: at)
                case 1 where at < bytes.count: bytes[at] = UInt8.random(in: 0...255, using: &random)
                case 2:
                    let end = min(bytes.count, at + Int.random(in: 0...12, using: &random))
                    bytes.removeSubrange(at..<end)
                default:
                    let end = min(bytes.count, at + Int.random(in: 0...40, using: &random))
                    let target = Int.random(in: 0...bytes.count, using: &random)
                    bytes.insert(contentsOf: bytes[at..<end], at: target)
                }
            }
            let text = String(decoding: bytes, as: UTF8.self)
            _ = load(text)
            _ = load(
                nil,
                environment: ["SLUICE_GATEWAY_APIS": text, "SLUICE_GATEWAY_LISTEN": text]
            )
        }
    }

    @Test("deep nesting, alias bombs and huge texts are refused", .timeLimit(.minutes(5)))
    func bombs() {
        let flow = String(repeating: "[", count: 50_000)
        let maps = String(repeating: "{a: ", count: 50_000)
        let dashes = String(repeating: "- ", count: 50_000)
        let closed = "a: " + String(repeating: "[", count: 990) + String(repeating: "]", count: 990)
        var blocks = ""
        for depth in 0..<990 { blocks += String(repeating: " ", count: depth) + "a:\n" }
        var bomb = "gateway:\n  apis:\n    - &a0 {id: x}\n"
        var list = "a0: &b0 [x, x]\n"
        for level in 1..<40 { list += "a\(level): &b\(level) [*b\(level - 1), *b\(level - 1)]\n" }
        bomb = list + "gateway: {apis: *b39, trusted_proxies: *b39}\n"
        for text in [flow, maps, dashes, closed, blocks, bomb] {
            #expect(!load(text).problems.isEmpty)
        }
        let huge = String(repeating: "# comment\n", count: 500_000)
        #expect(load(huge).problems.count == 1)
        #expect(load("node: a").problems.isEmpty)
    }
}
