"""6.3, what learners never get: other cases, right answers written differently, wrong ones."""

from lablib.teach.exercise import find

case_of = find("6.3").module.case_of


def cases(seed):
    return [case_of(seed)]


def plain():
    return """
name: deliver
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: python -m pytest -q tests
  train:
    needs: test
    runs-on: ubuntu-latest
    strategy:
      matrix:
        framework: [torch, tensorflow]
    steps:
      - uses: actions/checkout@v4
      - run: python -m lablib run train_${{ matrix.framework }}.py --ranks 2
  gate:
    needs: train
    runs-on: ubuntu-latest
    outputs:
      version: ${{ steps.decide.outputs.version }}
      passed: ${{ steps.decide.outputs.passed }}
    steps:
      - uses: actions/checkout@v4
      - id: decide
        run: python gate.py
  deploy:
    needs: gate
    if: needs.gate.outputs.passed == 'true'
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: python deploy.py ${{ needs.gate.outputs.version }}
  roll_back:
    needs: deploy
    if: failure() && needs.deploy.result == 'failure'
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: python roll_back.py
"""


def with_lists_and_environment():
    return """
on:
  push:
    branches: [main]
jobs:
  roll_back:
    if: ${{ always() && !cancelled() && needs.deploy.result == 'failure' }}
    needs: [deploy, gate]
    runs-on: self-hosted
    steps: [{run: "python roll_back.py"}]
  deploy:
    if: ${{ success() && needs.gate.outputs.ok != 'false' && needs.gate.outputs.ok != '' }}
    needs: [gate, train, test]
    runs-on: self-hosted
    env: {VERSION: "${{ needs.gate.outputs.model }}"}
    steps:
      - run: |
          echo "deploying"
          python deploy.py "$VERSION"
  gate:
    needs: [test, train]
    runs-on: self-hosted
    steps:
      - {run: "python gate.py", id: g}
    outputs: {ok: "${{steps.g.outputs.passed}}", model: "${{ steps.g.outputs.version }}"}
  train:
    needs: [test]
    strategy:
      fail-fast: false
      matrix:
        include:
          - script: train_torch.py
          - script: train_tensorflow.py
    runs-on: self-hosted
    steps:
      - env: {SCRIPT: "${{ matrix.script }}"}
        run: python -m lablib run ${SCRIPT} --ranks 2
  test:
    runs-on: self-hosted
    steps:
      - run: pip install pytest && python -m pytest
"""


def changed(old, new):
    text = plain()
    assert old in text
    return lambda: text.replace(old, new)


def all_at_once():
    return "\n".join(line for line in plain().splitlines() if "needs: " not in line)


def names_alone():
    jobs = "".join(f"  {name}: {{}}\n" for name in ("test", "train", "gate", "deploy", "roll_back"))
    return "on: push\njobs:\n" + jobs


RIGHT = [plain, with_lists_and_environment]
WRONG = {
    "no order": all_at_once,
    "names without steps": names_alone,
    "deploys whatever the gate says": changed(
        "    if: needs.gate.outputs.passed == 'true'\n", ""),
    "compares text with a truth value": changed("passed == 'true'", "passed == true"),
    "failure() alone": changed(" && needs.deploy.result == 'failure'", ""),
    "no status function": changed("failure() && ", ""),
    "always rolls back": changed("failure() && needs.deploy.result == 'failure'", "always()"),
    "no outputs of the job": changed(
        "    outputs:\n      version: ${{ steps.decide.outputs.version }}\n"
        "      passed: ${{ steps.decide.outputs.passed }}\n", ""),
    "one framework": changed("[torch, tensorflow]", "[torch]"),
    "a version written by hand": changed("${{ needs.gate.outputs.version }}", "1"),
    "trains before the tests": changed("    needs: test\n", ""),
}  # fmt: skip
