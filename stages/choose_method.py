"""Section method of params.yaml -> what each phase does, a file a phase."""

from ppl.methods.choose import PlanFiles, write_plan
from ppl.run.stage import run


def main(files: PlanFiles) -> None:
    """Tell each phase whether the method has it; only those whose file changes run again."""
    print(write_plan(files))


if __name__ == "__main__":
    run(main)
