/// What `sluice top` asks for.
package struct TopQuestion: Equatable, Sendable {
    /// Which of this run; answers to earlier ones are too late.
    package var number: Int
    /// Dimensions of the groups.
    package var groupBy: [String]
    /// What the groups are ranked by.
    package var sort: TopSort
    /// Length of the window, in seconds.
    package var window: Int
}

/// What groups are ranked by.
package enum TopSort: String, CaseIterable, Sendable {
    /// Requests per second.
    case requests
    /// Errors per second.
    case errors
    /// Share of errors.
    case errorRate = "error_rate"
    /// Median latency.
    case p50 = "latency_p50"
    /// Latency that one of a hundred exceeds.
    case p99 = "latency_p99"
    /// Bytes of answers per second.
    case bytes = "bytes_out"

    /// As a person says it.
    package var title: String {
        switch self {
        case .requests: "requests"
        case .errors: "errors"
        case .errorRate: "error rate"
        case .p50: "p50"
        case .p99: "p99"
        case .bytes: "bytes out"
        }
    }
}

/// The numbers of one group, or of all, in the window.
package struct TopRow: Equatable, Sendable {
    /// Values of the dimensions; nil where there is none.
    package var labels: [String?]
    /// Requests.
    package var requests: Double
    /// Errors of any kind.
    package var errors: Double
    /// Share of errors.
    package var errorRate: Double?
    /// Median latency, seconds.
    package var p50: Double?
    /// 99th percentile, seconds.
    package var p99: Double?
    /// Bytes of answers.
    package var bytes: Double

    /// A row of numbers.
    package init(
        labels: [String?],
        requests: Double,
        errors: Double = 0,
        errorRate: Double? = nil,
        p50: Double? = nil,
        p99: Double? = nil,
        bytes: Double = 0
    ) {
        self.labels = labels
        self.requests = requests
        self.errors = errors
        self.errorRate = errorRate
        self.p50 = p50
        self.p99 = p99
        self.bytes = bytes
    }
}

/// What the query API answered.
package struct TopAnswer: Equatable, Sendable {
    /// Start of the window as it was rounded, seconds since the Unix epoch.
    package var from: Int64
    /// Up to when everything is counted, seconds since the Unix epoch.
    package var completeTo: Int64?
    /// When it was asked, seconds since the Unix epoch.
    package var askedAt: Int64
    /// The rollup that answered.
    package var rollup: String
    /// Number of groups there are.
    package var groups: Int
    /// Everything together.
    package var total: TopRow
    /// The groups, the first ones by rank.
    package var rows: [TopRow]
    /// Requests and errors of each minute of the last hour, oldest first; empty if not known.
    package var minutes: [(requests: Double, errors: Double)]

    /// An answer.
    package init(
        from: Int64,
        completeTo: Int64?,
        askedAt: Int64,
        rollup: String,
        groups: Int,
        total: TopRow,
        rows: [TopRow],
        minutes: [(requests: Double, errors: Double)] = []
    ) {
        self.from = from
        self.completeTo = completeTo
        self.askedAt = askedAt
        self.rollup = rollup
        self.groups = groups
        self.total = total
        self.rows = rows
        self.minutes = minutes
    }

    /// Up to when requests are in the answer.
    package var end: Int64 { min(completeTo ?? askedAt, askedAt) }

    /// Seconds that the numbers are about; at least one.
    package var seconds: Double { Double(max(1, end - from)) }

    /// The same in every part.
    package static func == (left: TopAnswer, right: TopAnswer) -> Bool {
        left.from == right.from && left.completeTo == right.completeTo
            && left.askedAt == right.askedAt && left.rollup == right.rollup
            && left.groups == right.groups && left.total == right.total && left.rows == right.rows
            && left.minutes.elementsEqual(right.minutes, by: ==)
    }
}

/// The state of `sluice top`: what happens is an event, what is to be done an action.
package struct TopModel: Sendable {
    /// What happens.
    package enum Event: Sendable {
        /// A key was pressed.
        case key(Key)
        /// The answer to the question of that number.
        case answer(Int, TopAnswer)
        /// Why there is no answer to it.
        case failure(Int, String)
        /// The time until the next question after that number is over.
        case due(Int)
        /// The window has another size.
        case resized(rows: Int, columns: Int)
        /// Someone wants it to end.
        case ended
    }

    /// What is to be done.
    package enum Action: Equatable, Sendable {
        /// Show the frame.
        case draw
        /// Ask; the answer is an event.
        case ask(TopQuestion)
        /// Say when the interval is over.
        case wait(Int)
        /// Give the terminal back and end.
        case quit
    }

    /// Where the query API is.
    package let server: String
    /// Groupings to choose from, each a list of dimensions.
    package let groupings: [[String]]
    /// Seconds between questions.
    package let interval: Double
    /// Conditions that all questions have, for the heading.
    package let filters: [String]
    /// The chosen grouping.
    package private(set) var grouping: Int
    /// The chosen rank.
    package private(set) var sort: TopSort
    /// Length of the window, in seconds.
    package private(set) var window: Int
    /// Whether nothing is asked until a key is pressed.
    package private(set) var isPaused = false
    /// Whether the keys are explained.
    package private(set) var showsHelp = false
    /// Groups scrolled past.
    package private(set) var scrolled = 0
    /// Rows and columns of the window.
    package private(set) var size = (rows: 24, columns: 80)
    /// The latest answer.
    package private(set) var answer: TopAnswer?
    /// The dimensions that it is grouped by.
    package private(set) var answeredGroups: [String] = []
    /// Why there was none the last time.
    package private(set) var failure: String?
    private var asked = 0
    private var isAsking = false

    /// Lengths of the window to choose from, in seconds; chosen.
    package static let windows = [60, 300, 900, 3_600, 21_600, 86_400]

    /// A view that has not asked yet.
    package init(
        server: String,
        groupings: [[String]],
        sort: TopSort = .requests,
        window: Int = 300,
        interval: Double = 2,
        filters: [String] = []
    ) {
        precondition(!groupings.isEmpty, "there is nothing to group by")
        self.server = server
        self.groupings = groupings
        self.sort = sort
        self.window = window
        self.interval = interval
        self.filters = filters
        grouping = 0
    }

    /// What is done first.
    package mutating func start() -> [Action] { ask() }

    /// What has to be done after `event`.
    package mutating func handle(_ event: Event) -> [Action] {
        switch event {
        case .key(let key): return pressed(key)
        case .answer(let number, let answer):
            guard number == asked else { return [] }
            isAsking = false
            self.answer = answer
            answeredGroups = groupings[grouping]
            failure = nil
            scrolled = min(scrolled, max(0, answer.rows.count - 1))
            return [.draw, .wait(asked)]
        case .failure(let number, let reason):
            guard number == asked else { return [] }
            isAsking = false
            failure = reason
            return [.draw, .wait(asked)]
        case .due(let number):
            guard number == asked, !isAsking, !isPaused else { return [] }
            return ask()
        case .resized(let rows, let columns):
            size = (rows, columns)
            return [.draw]
        case .ended: return [.quit]
        }
    }

    private mutating func ask() -> [Action] {
        asked += 1
        isAsking = true
        return [
            .draw,
            .ask(
                TopQuestion(
                    number: asked,
                    groupBy: groupings[grouping],
                    sort: sort,
                    window: window
                )
            ),
        ]
    }

    private mutating func pressed(_ key: Key) -> [Action] {
        if showsHelp, key != .character("q") {
            showsHelp = false
            return [.draw]
        }
        switch key {
        case .character("q"), .escape: return [.quit]
        case .character("p"), .character(" "):
            isPaused.toggle()
            return isPaused || isAsking ? [.draw] : ask()
        case .character("?"), .character("h"):
            showsHelp = true
            return [.draw]
        case .character("g"): return choose(grouping: grouping + 1)
        case .character("G"): return choose(grouping: grouping - 1 + groupings.count)
        case .character("s"): return choose(sortBy: 1)
        case .character("S"): return choose(sortBy: -1)
        case .character("w"): return choose(windowBy: 1)
        case .character("W"): return choose(windowBy: -1)
        case .character("r"): return ask()
        case .character(let digit):
            guard let number = digit.wholeNumberValue, (1...groupings.count).contains(number)
            else { return [] }
            return choose(grouping: number - 1)
        case .up: return scroll(by: -1)
        case .down: return scroll(by: 1)
        case .pageUp: return scroll(by: -max(1, size.rows - TopFrame.linesBesideRows))
        case .pageDown: return scroll(by: max(1, size.rows - TopFrame.linesBesideRows))
        case .home: return scroll(by: -scrolled)
        case .end: return scroll(by: answer?.rows.count ?? 0)
        case .other: return []
        }
    }

    private mutating func choose(grouping number: Int) -> [Action] {
        grouping = number % groupings.count
        scrolled = 0
        return ask()
    }

    private mutating func choose(sortBy step: Int) -> [Action] {
        let all = TopSort.allCases
        let place = all.firstIndex(of: sort) ?? 0
        sort = all[(place + step + all.count) % all.count]
        scrolled = 0
        return ask()
    }

    private mutating func choose(windowBy step: Int) -> [Action] {
        let all = Self.windows
        let place = all.firstIndex { $0 >= window } ?? all.count - 1
        window = all[min(max(0, place + step), all.count - 1)]
        return ask()
    }

    private mutating func scroll(by lines: Int) -> [Action] {
        let last = max(0, (answer?.rows.count ?? 0) - 1)
        scrolled = min(max(0, scrolled + lines), last)
        return [.draw]
    }
}
