/// The kind of program that a `User-Agent` names, from a fixed list.
///
/// The order of the cases is the order of precedence: a browser names its ancestors, too.
package enum UserAgentFamily: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    /// Search engines, link previews, and whatever calls itself a bot, spider or crawler.
    case googlebot, bingbot, bot
    /// Monitoring probes and load balancers.
    case monitor
    /// Command-line clients and interactive API tools.
    case curl, wget, httpie, postman, insomnia
    /// HTTP libraries.
    case pythonRequests, python, go, okhttp, java, node, ruby, php, perl, dotnet, rust, dart, swift
    /// Load generators.
    case loadTest
    /// Browsers, the derived before what they derive from.
    case edge, opera, samsungInternet, firefox, chrome, internetExplorer, safari
    /// A text that none of the above explains.
    case other
    /// No text at all.
    case none

    /// The name as recorded; empty when there was no user agent.
    package var name: String {
        switch self {
        case .googlebot: "Googlebot"
        case .bingbot: "Bingbot"
        case .bot: "Bot"
        case .monitor: "Monitor"
        case .curl: "curl"
        case .wget: "Wget"
        case .httpie: "HTTPie"
        case .postman: "Postman"
        case .insomnia: "Insomnia"
        case .pythonRequests: "python-requests"
        case .python: "Python"
        case .go: "Go"
        case .okhttp: "OkHttp"
        case .java: "Java"
        case .node: "Node.js"
        case .ruby: "Ruby"
        case .php: "PHP"
        case .perl: "Perl"
        case .dotnet: ".NET"
        case .rust: "Rust"
        case .dart: "Dart"
        case .swift: "CFNetwork"
        case .loadTest: "Load test"
        case .edge: "Edge"
        case .opera: "Opera"
        case .samsungInternet: "Samsung Internet"
        case .firefox: "Firefox"
        case .chrome: "Chrome"
        case .internetExplorer: "Internet Explorer"
        case .safari: "Safari"
        case .other: "Other"
        case .none: ""
        }
    }

    /// Recognises a `User-Agent` in one pass without allocating.
    package init(_ bytes: Span<UInt8>) {
        guard !bytes.isEmpty else {
            self = .none
            return
        }
        let (value, isRobot) = Self.table.smallest(in: bytes)
        let found = value.flatMap(UserAgentFamily.init(rawValue:)) ?? .other
        self = isRobot && found.rawValue > Self.bot.rawValue ? .bot : found
    }

    /// The words that give a program away, in no particular order.
    private static let table = WordTable(
        words.flatMap { entry in entry.words.map { ($0, entry.family.rawValue) } }
    )

    /// The words of each family.
    private static let words: [(family: UserAgentFamily, words: [String])] = [
        (.googlebot, ["googlebot", "googleother", "mediapartners", "apisgoogle"]),
        (.bingbot, ["bingbot", "msnbot", "bingpreview"]),
        (
            .bot,
            [
                "bot", "slurp", "baiduspider", "yandexbot", "facebookexternalhit", "twitterbot",
                "slackbot", "applebot", "ia", "feedburner", "feedly", "archiver", "heritrix",
                "gptbot", "claudebot", "scrapy", "whatsapp", "telegrambot", "discordbot",
            ]
        ),
        (
            .monitor,
            [
                "kube", "prometheus", "googlehc", "uptimerobot", "pingdom", "datadog",
                "healthchecker", "nagios", "monitoring", "blackbox", "zabbix", "statuscake",
            ]
        ),
        (.curl, ["curl", "libcurl"]),
        (.wget, ["wget"]),
        (.httpie, ["httpie"]),
        (.postman, ["postmanruntime"]),
        (.insomnia, ["insomnia"]),
        (.pythonRequests, ["requests"]),
        (.python, ["python", "aiohttp", "httpx", "urllib", "urllib3"]),
        (.go, ["go", "resty", "fasthttp"]),
        (.okhttp, ["okhttp"]),
        (.java, ["java", "httpclient", "jersey", "jakarta", "reactornetty", "restassured"]),
        (.node, ["node", "axios", "undici", "got", "superagent"]),
        (.ruby, ["ruby", "faraday", "rest", "typhoeus"]),
        (.php, ["php", "guzzlehttp", "wordpress"]),
        (.perl, ["perl", "lwp"]),
        (.dotnet, ["dotnet", "restsharp"]),
        (.rust, ["reqwest", "hyper", "ureq"]),
        (.dart, ["dart"]),
        (.swift, ["cfnetwork", "alamofire"]),
        (.loadTest, ["wrk", "wrk2", "apachebench", "h2load", "k6", "jmeter", "vegeta", "hey"]),
        (.edge, ["edg", "edge", "edga", "edgios"]),
        (.opera, ["opr", "opera", "opios"]),
        (.samsungInternet, ["samsungbrowser"]),
        (.firefox, ["firefox", "fxios", "iceweasel", "seamonkey"]),
        (.chrome, ["chrome", "crios", "chromium", "headlesschrome"]),
        (.internetExplorer, ["msie", "trident"]),
        (.safari, ["safari"]),
    ]
}

/// The operating system that a `User-Agent` names, from a fixed list.
///
/// The order of the cases is the order of precedence: Android names Linux, too.
package enum ClientPlatform: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    /// Mobile systems.
    case android, ios
    /// Desktop and server systems.
    case chromeOS, windows, macOS, linux, bsd
    /// A text that none of the above explains.
    case other
    /// No text at all.
    case none

    /// The name as recorded; empty when there was no user agent.
    package var name: String {
        switch self {
        case .android: "Android"
        case .ios: "iOS"
        case .chromeOS: "ChromeOS"
        case .windows: "Windows"
        case .macOS: "macOS"
        case .linux: "Linux"
        case .bsd: "BSD"
        case .other: "Other"
        case .none: ""
        }
    }

    /// Recognises a `User-Agent` in one pass without allocating.
    package init(_ bytes: Span<UInt8>) {
        guard !bytes.isEmpty else {
            self = .none
            return
        }
        let value = Self.table.smallest(in: bytes).value
        self = value.flatMap(ClientPlatform.init(rawValue:)) ?? .other
    }

    /// The words that give a system away.
    private static let table = WordTable(
        words.flatMap { entry in entry.words.map { ($0, entry.platform.rawValue) } }
    )

    /// The words of each system.
    private static let words: [(platform: ClientPlatform, words: [String])] = [
        (.android, ["android", "dalvik"]),
        (.ios, ["iphone", "ipad", "ipod", "ios"]),
        (.chromeOS, ["cros"]),
        (.windows, ["windows", "win32", "win64"]),
        (.macOS, ["macintosh", "darwin", "macos"]),
        (.linux, ["linux", "ubuntu", "fedora", "debian"]),
        (.bsd, ["freebsd", "openbsd", "netbsd"]),
    ]
}
