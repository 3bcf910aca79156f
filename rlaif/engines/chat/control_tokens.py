"""Control tokens by which chat templates tell one turn from the next, of the families of models that are served.

An endpoint tokenises our texts itself, and some of them turn "<|im_end|>" inside a message into the control token. An
engine of this machine asks its own tokenizer instead.
"""

from __future__ import annotations

FAMILIES = {
    "ChatML, Qwen, GPT": "<|im_start|> <|im_end|> <|im_sep|> <|endoftext|> <|endofprompt|>",
    "Qwen, DeepSeek": "<think> </think> <tool_call> </tool_call> <tool_response> </tool_response>",
    "DeepSeek": "<｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜>",
    "gpt-oss": "<|start|> <|message|> <|channel|> <|return|> <|call|> <|constrain|>",
    "Llama 4": "<|header_start|> <|header_end|> <|eot|> <|eom|>",
    "Llama 3": "<|begin_of_text|> <|end_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> "
    "<|python_tag|> <|finetune_right_pad_id|>",
    "Llama 2, Mistral": "<s> </s> <unk> [INST] [/INST] <<SYS>> <</SYS>>",
    "Mistral": "[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_CALLS] [TOOL_RESULTS] "
    "[/TOOL_RESULTS] [THINK] [/THINK]",
    "Gemma, tinyworld": "<start_of_turn> <end_of_turn> <bos> <eos> <pad>",
    "Phi, Zephyr, GLM, tinyworld": "<|system|> <|user|> <|assistant|> <|end|>",
    "GLM": "[gMASK] <sop> <eop> <|observation|>",
    "Command R": "<|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|> <|SYSTEM_TOKEN|> <|USER_TOKEN|> <|CHATBOT_TOKEN|>",
}
CONTROL_TOKENS = frozenset(token for tokens in FAMILIES.values() for token in tokens.split())
