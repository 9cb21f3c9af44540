"""A model in a terminal: paste or type a dialogue, and its summary appears as it is written.

    t5x-lite --config configs/chat.py --workdir runs/chat
    t5x-lite --config configs/chat.py --workdir runs/chat --config.model.source=google/flan-t5-base
    cat dialogue.txt | t5x-lite --config configs/chat.py --workdir runs/chat > summary.txt

The model is "nano" (it comes with the package), a hub id, a directory in Hugging Face's format, or the workdir of a
run: that of an adapter gives its base with the adapter. The template is one of t5x_lite/data/templates.py or a text
with {dialogue} in it; take the one that the model was trained on. An empty line sends what was typed, blank lines
within a paste do not. /help lists the commands (/settings top_k=5, /template flan_2, /again, /quit). Ctrl-C stops an
answer, Ctrl-D leaves. A pipe is one dialogue; whole files of them: configs/lab1_prompting.py.
Hardware: one device; a CPU does for nano. What comes out: transcript.jsonl, a line an answer, with all that it takes to
get it again.
"""

from t5x_lite.recipe import recipe

get_config = recipe("chat", {})
