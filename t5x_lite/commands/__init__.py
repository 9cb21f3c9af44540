"""What `t5x-lite WORD` does beside running an experiment: a function a word, imported when it is called for."""

# word: (module and function, what --help says of it). The function takes what stands behind the word, and returns the
# text to print (None: it has said all itself).
WORDS = {
    "list": ("t5x_lite.commands.listing:list_recipes", "the recipes, each with its task and words"),
    "describe": (
        "t5x_lite.commands.listing:describe_config",
        "CONFIG [SECTION ...]: what it does, and its fields with their meaning",
    ),
    "index": (
        "t5x_lite.commands.index:index_runs",
        "RUNS: one page over a folder of runs, RUNS/index.html",
    ),
    "export": (
        "t5x_lite.export.command:run",
        "--model DIR --out DIR: a model for others to run; export --help",
    ),
    "lm_eval": (
        "t5x_lite.harness.command:run",
        "--model_args pretrained=DIR --tasks NAME: lm-evaluation-harness; lm_eval --help",
    ),
    "serve": (
        "t5x_lite.serving.command:answer",
        "--model DIR: a server in OpenAI's format, with a playground; serve --help",
    ),
    "completion": (
        "t5x_lite.commands.completion:complete",
        "bash|zsh: a script that completes words, configs and fields",
    ),
}
OWN_HELP = ("export", "lm_eval", "serve")
FLAGS = (
    *("--config", "--workdir", "--print_config", "--dry_run", "--version", "--help"),
    *("--coordinator_address", "--num_processes", "--process_id"),
)  # fmt: skip
