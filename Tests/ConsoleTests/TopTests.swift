import Console
import Testing

private let unicode = Drawing(isUnicode: true, hasColour: false)
private let ascii = Drawing(isUnicode: false, hasColour: false)

/// 2026-03-10 12:00:00 UTC.
private let noon: Int64 = 1_773_144_000

private func answer(_ groups: [[String?]], total: Int? = nil) -> TopAnswer {
    TopAnswer(
        from: noon - 300,
        completeTo: noon - 3,
        askedAt: noon,
        rollup: "api",
        groups: total ?? groups.count,
        total: TopRow(
            labels: [],
            requests: 29_700,
            errors: 1_188,
            errorRate: 0.04,
            p50: 0.0123,
            p99: 0.456,
            bytes: 1e9
        ),
        rows: groups.enumerated().map { index, labels in
            TopRow(
                labels: labels,
                requests: 10_000 / Double(index + 1),
                errors: Double(index * 100),
                errorRate: index == 0 ? nil : Double(index) / 100,
                p50: 0.001 * Double(index + 1),
                p99: index == 2 ? nil : 0.25,
                bytes: 1e7 / Double(index + 1)
            )
        },
        minutes: (0..<59).map { (requests: Double($0 % 20 * 60), errors: 0) }
    )
}

private func model(_ groups: [[String?]], total: Int? = nil) -> TopModel {
    var model = TopModel(
        server: "http://127.0.0.1:8090",
        groupings: [["api", "route"], ["api"], ["status"]],
        filters: ["org:eq:acme"]
    )
    _ = model.start()
    _ = model.handle(.answer(1, answer(groups, total: total)))
    return model
}

private let routes: [[String?]] = [
    ["orders", "GET /orders/{id}"], ["payments", "POST /payments/{payment}/refunds/{refund}"],
    ["a-very-long-name-of-an-api-that-somebody-chose", "GET /\u{1B}[31m"], ["日本語", nil],
    [nil, "__unmatched__"],
]

@Suite("TopFrame")
struct TopFrameTests {
    private func frame(_ model: TopModel, _ rows: Int, _ columns: Int, _ drawing: Drawing) -> String
    {
        TopFrame(model, drawing: drawing, columns: columns, now: noon).lines(rows: rows)
            .map { $0 + "|\n" }.joined()
    }

    @Test("frames of several sizes, in Unicode and ASCII, with help, failures and nothing")
    func frames() throws {
        var text = frame(model(routes, total: 43), 24, 80, unicode)
        text += frame(model(routes, total: 43), 12, 130, unicode)
        text += frame(model(routes, total: 43), 12, 80, ascii)
        text += frame(model([]), 10, 60, unicode)
        var paused = model(routes)
        _ = paused.handle(.key(.character("p")))
        _ = paused.handle(.failure(1, "could not reach the query API"))
        text += frame(paused, 12, 80, unicode)
        var help = model(routes)
        _ = help.handle(.key(.character("?")))
        text += frame(help, 24, 80, unicode)
        try checkGolden(text, "top.txt")
    }

    @Test("a frame has exactly the lines of its window, and none is wider")
    func sizes() {
        for (rows, columns) in [(1, 20), (2, 30), (5, 40), (8, 50), (24, 80), (50, 200), (24, 20)] {
            for drawing in [unicode, ascii] {
                for state in [model(routes), model([])] {
                    let lines = TopFrame(state, drawing: drawing, columns: columns, now: noon)
                        .lines(rows: rows)
                    #expect(lines.count == rows)
                    for line in lines {
                        #expect(TextWidth.columns(line) <= columns, "\(rows)x\(columns): \(line)")
                    }
                }
            }
        }
    }

    @Test("colours do not change what a frame takes")
    func colours() {
        let coloured = Drawing(isUnicode: true, hasColour: true)
        let lines = TopFrame(model(routes), drawing: coloured, columns: 80, now: noon)
            .lines(rows: 24)
        let plain = TopFrame(model(routes), drawing: unicode, columns: 80, now: noon)
            .lines(rows: 24)
        #expect(lines.contains { $0.contains("\u{1B}[7m") })
        #expect(lines.map { $0.replacing(/\u{1B}\[[0-9]+m/, with: "") } == plain)
    }
}

@Suite("TopModel")
struct TopModelTests {
    @Test("keys choose, and late answers are passed over")
    func choosing() {
        var top = TopModel(server: "", groupings: [["api"], ["status"], ["method"]])
        #expect(top.start().count == 2)
        let actions = top.handle(.key(.character("g")))
        guard case .ask(let question) = actions.last else {
            Issue.record("no question: \(actions)")
            return
        }
        #expect(question.groupBy == ["status"] && question.number == 2)
        #expect(top.handle(.answer(1, answer([["x"]]))).isEmpty)
        #expect(top.answer == nil)
        #expect(top.handle(.answer(2, answer([["200"]]))) == [.draw, .wait(2)])
        #expect(top.answeredGroups == ["status"])
        #expect(top.handle(.due(1)).isEmpty)
        #expect(top.handle(.due(2)).count == 2)
        // The question is under way: a second one is not begun by the clock.
        #expect(top.handle(.due(3)).isEmpty)
        _ = top.handle(.key(.character("G")))
        #expect(top.grouping == 0)
        _ = top.handle(.key(.character("3")))
        #expect(top.grouping == 2)
        #expect(top.handle(.key(.character("9"))).isEmpty)
        _ = top.handle(.key(.character("S")))
        #expect(top.sort == .bytes)
        _ = top.handle(.key(.character("s")))
        #expect(top.sort == .requests)
        _ = top.handle(.key(.character("w")))
        #expect(top.window == 900)
        for _ in 0..<9 { _ = top.handle(.key(.character("W"))) }
        #expect(top.window == 60)
    }

    @Test("a pause asks nothing until it is over")
    func pausing() {
        var top = model(routes)
        #expect(top.handle(.key(.character("p"))) == [.draw])
        #expect(top.handle(.due(1)).isEmpty)
        #expect(top.handle(.key(.character(" "))).count == 2)
        #expect(!top.isPaused)
    }

    @Test("after a failure it goes on, with what it had")
    func failing() {
        var top = model(routes)
        #expect(top.handle(.due(1)).count == 2)
        #expect(top.handle(.failure(2, "down")) == [.draw, .wait(2)])
        #expect(top.failure == "down" && top.answer?.rows.count == 5)
        #expect(top.handle(.due(2)).count == 2)
    }

    @Test("scrolling stays within the groups, and help goes away with any key")
    func scrolling() {
        var top = model(routes)
        for _ in 0..<9 { _ = top.handle(.key(.down)) }
        #expect(top.scrolled == 4)
        _ = top.handle(.key(.up))
        #expect(top.scrolled == 3)
        _ = top.handle(.key(.home))
        #expect(top.scrolled == 0)
        _ = top.handle(.key(.end))
        #expect(top.scrolled == 4)
        _ = top.handle(.key(.character("h")))
        #expect(top.showsHelp)
        #expect(top.handle(.key(.escape)) == [.draw])
        #expect(!top.showsHelp)
        #expect(top.handle(.key(.escape)) == [.quit])
        #expect(top.handle(.key(.character("q"))) == [.quit])
        #expect(top.handle(.ended) == [.quit])
    }

    @Test(
        "keys are read from the bytes of a terminal",
        arguments: [
            ("g", [.character("g")]), ("\u{1B}[A\u{1B}OB", [.up, .down]),
            ("\u{1B}[5~\u{1B}[6~\u{1B}[H\u{1B}[4~", [.pageUp, .pageDown, .home, .end]),
            ("\u{1B}", [.escape]), ("ü\u{1B}[1;5Cq", [.character("ü"), .other, .character("q")]),
            ("\u{1B}[", [.other]), ("", []),
        ] as [(String, [Key])]
    )
    func keys(bytes: String, expected: [Key]) {
        #expect(Key.keys(Array(bytes.utf8)) == expected)
    }
}

@Suite("Redraw")
struct RedrawTests {
    @Test("text takes the place of the lines before, and never more than the window has")
    func inPlace() {
        let first = Redraw.inPlace("a\nb\n", over: 0, rows: 24, unicode)
        #expect(first.lines == 2)
        #expect(first.text == "\u{1B}[?7l\ra\u{1B}[K\nb\u{1B}[K\n\u{1B}[J\u{1B}[?7h")
        let second = Redraw.inPlace("c\n", over: 2, rows: 24, unicode)
        #expect(second.text.hasPrefix("\u{1B}[?7l\u{1B}[2A\rc\u{1B}[K\n"))
        let cut = Redraw.inPlace("1\n2\n3\n4\n5\n", over: 0, rows: 4, unicode)
        #expect(cut.lines == 3)
        #expect(cut.text.contains("… 3 more lines"))
    }
}
