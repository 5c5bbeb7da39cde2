// weir-load: sends OpenAI requests to model servers or a gateway, and measures the answers.
#include "load/commands.h"

int main(int argc, char** argv) {
  CLI::App app("weir-load: a load client for OpenAI endpoints");
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(
      "Each command has its own --help.\n"
      "Examples:\n"
      "  weir-load run --target http://localhost:8080 --concurrency 16 --requests 500\n"
      "  weir-load compare round-robin.json prefix.json --html report.html");
  int exit_code = weir::load::kExitOk;
  weir::load::AddRunCommand(app, &exit_code);
  weir::load::AddProxyCommand(app, &exit_code);
  weir::load::AddGenerateCommand(app, &exit_code);
  weir::load::AddCompareCommand(app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? weir::load::kExitOk : weir::load::kExitUsage;
  }
  return exit_code;
}
