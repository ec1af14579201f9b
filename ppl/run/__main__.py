"""python -m ppl.run STAGE --OPTION PATH ...: start a stage, see `ppl/run/launch.py`."""

from ppl.run.launch import main

if __name__ == "__main__":
    main()
