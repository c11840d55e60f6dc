/// What came of loading: settings if there are no problems.
package struct LoadedConfiguration: Sendable {
    /// The settings; where a value was wrong, its default.
    package var settings: Settings

    /// Everything that must be changed before these settings may be used, in the order of the text.
    package var problems: [ConfigurationProblem]

    /// What works but was hardly meant.
    package var notes: [ConfigurationProblem]
}

/// Builds the settings from a YAML text and the environment, and finds every problem at once.
package struct ConfigurationLoader {
    private let environment: [String: String]
    private let hostName: String
    private let kafkaRefusal: (_ name: String, _ value: String) -> String?
    private let readFile: (String) throws -> String
    private let refusals: Refusals

    /// A loader with its surroundings.
    ///
    /// - Parameters:
    ///   - environment: The environment variables.
    ///   - hostName: The name of this machine.
    ///   - kafkaRefusal: Why librdkafka would not take a property with a value; nil if it would.
    ///   - refusals: What other modules say of settings.
    ///   - readFile: Reads a file, or throws what the operating system says.
    package init(
        environment: [String: String],
        hostName: String,
        kafkaRefusal: @escaping (_ name: String, _ value: String) -> String? = { _, _ in nil },
        refusals: Refusals = Refusals(),
        readFile: @escaping (String) throws -> String
    ) {
        self.environment = environment
        self.hostName = hostName
        self.kafkaRefusal = kafkaRefusal
        self.readFile = readFile
        self.refusals = refusals
    }

    /// Loads `text`, called `name` in messages; nil if there is no file, which gives the demo.
    package func load(_ text: String?, name: String) -> LoadedConfiguration {
        var problems: [ConfigurationProblem] = []
        var tree = ConfigurationNode(
            content: .mapping([]),
            origin: .whole(name: text == nil ? "configuration" : name)
        )
        if let text {
            var parser = ConfigurationParser(name: name)
            if let parsed = parser.parse(text), !parsed.isNull { tree = parsed }
            problems += parser.problems
        }
        var overrides = EnvironmentOverrides()
        tree = overrides.apply(environment, to: tree)
        problems += overrides.problems

        var shapes = ShapeChecker()
        shapes.check(tree, ConfigurationSchema.root, path: "")
        problems += shapes.problems

        var decoder = SettingsDecoder(
            environment: environment,
            readFile: readFile,
            kafkaRefusal: kafkaRefusal
        )
        var settings = decoder.decode(tree, hostName: hostName)
        problems += decoder.problems

        var checker = SettingsChecker()
        checker.refusals = refusals
        checker.check(tree, settings)
        problems += checker.problems

        var notes = checker.notes
        if text == nil, tree["gateway"]?["apis"] == nil {
            settings.gateway.addDemo()
        } else if tree["gateway"]?["apis"]?.elements?.isEmpty ?? true {
            notes.append(
                ConfigurationProblem(
                    origin: tree.origin,
                    path: "gateway.apis",
                    message: "there is no API, so the gateway answers every request with 404"
                )
            )
        }
        return LoadedConfiguration(
            settings: settings,
            problems: Self.ordered(problems),
            notes: Self.ordered(notes)
        )
    }

    /// Problems by their place: the file by line and column, then the environment by name.
    private static func ordered(_ problems: [ConfigurationProblem]) -> [ConfigurationProblem] {
        func key(_ problem: ConfigurationProblem) -> (Int, Int, Int, String) {
            switch problem.origin {
            case .whole: (0, 0, 0, "")
            case .file(_, let line, let column): (1, line, column, "")
            case .environment(let variable): (2, 0, 0, variable)
            }
        }
        let sorted = problems.enumerated().sorted {
            let left = key($0.element)
            let right = key($1.element)
            return left == right ? $0.offset < $1.offset : left < right
        }
        return sorted.map(\.element)
    }
}
