"""Whole chat templates, written for these tests in the ways that published ones are written, and chats for them."""

TEMPLATES = {
    # One line, roles between marks.
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
              " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    # A default system text, put in front by the first turn of the loop.
    "default_system": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
                      "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
                      "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
                      "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    # Instruction marks; the system text goes into the first user turn; roles must alternate.
    "inst": """{% if messages[0]['role'] == 'system' %}
    {% set loop_messages = messages[1:] %}
    {% set system_message = messages[0]['content'] %}
{% else %}
    {% set loop_messages = messages %}
    {% set system_message = false %}
{% endif %}
{% for message in loop_messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}
    {% endif %}
    {% if loop.index0 == 0 and system_message != false %}
        {% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}
    {% else %}
        {% set content = message['content'] %}
    {% endif %}
    {% if message['role'] == 'user' %}
        {{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' %}
        {{ ' '  + content.strip() + ' ' + eos_token }}
    {%- endif %}
{% endfor %}
""",
    # Line ends inside of the tags, a turn per line.
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    # The assistant is called model, content is trimmed, system is refused.
    "turns": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
             "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
             "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
             "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
             "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
             "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    # Thinking is cut from old turns; content may be a list of parts; macro and namespace.
    "thinking": """{%- macro render_content(content) %}
    {%- if content is string %}
        {{- content }}
    {%- elif content is iterable and content is not mapping %}
        {%- for item in content %}
            {%- if item.type == 'text' %}
                {{- item.text }}
            {%- else %}
                {{- raise_exception('Unexpected item type in content.') }}
            {%- endif %}
        {%- endfor %}
    {%- elif content is none or content is undefined %}
        {{- '' }}
    {%- else %}
        {{- raise_exception('Unexpected content type.') }}
    {%- endif %}
{%- endmacro %}
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- render_content(messages[0].content) + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + render_content(messages[0].content) + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = render_content(message.content)|trim %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls or [] %}
            {%- if tool_call.function %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' ~ tool_call.name ~ '", "arguments": ' }}
            {%- if tool_call.arguments is string %}
                {{- tool_call.arguments }}
            {%- else %}
                {{- tool_call.arguments | tojson }}
            {%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' ~ content ~ '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    # Filters over all messages, the date, and marks around what the assistant said.
    "filters": """{%- set system_messages = messages | selectattr('role', 'equalto', 'system') | list -%}
{%- if system_messages -%}
{{ bos_token }}[SYSTEM]{{ system_messages | map(attribute='content') | join('\\n') | trim }} ({{ strftime_now('%Y-%m-%d') }})
{%- endif -%}
{%- set loop_messages = messages | rejectattr('role', 'equalto', 'system') | list -%}
{%- for message in loop_messages -%}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}
{{ message['content'] | trim }}{{ eos_token }}
{%- endgeneration -%}
{%- else -%}
[{{ message['role'] | upper }}{{ loop.index }}/{{ loop.length }}] {{ message['content'] }}
{%- if not loop.last %} {% endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and loop_messages and loop_messages[-1]['role'] != 'assistant' %}[ANSWER]{% endif -%}
""",
}

TOOL = {"type": "function", "function": {"name": "weather", "description": "Says the weather of a \"place\" <now>",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"place": "Zürich", "days": 2, "exact": True}}}

CHATS = [
    {"messages": [{"role": "user", "content": "Hello"}]},
    {"messages": [{"role": "system", "content": "You are a bot."}, {"role": "user", "content": "Hi!"}]},
    {"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"}]},
    {"messages": [{"role": "system", "content": "  padded \n"}, {"role": "user", "content": "\n a \t"},
                  {"role": "assistant", "content": " b "}, {"role": "user", "content": "c\n\n"}, {"role": "assistant", "content": "d"}]},
    {"messages": [{"role": "user", "content": ""}]},
    {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": ""}, {"role": "assistant", "content": ""}]},
    {"messages": [{"role": "user", "content": "Grüße, 世界 👋🏽 \u202e مرحبا é\u00a0"}, {"role": "assistant", "content": "\u3000全角\u3000"}]},
    {"messages": [{"role": "assistant", "content": "I begin."}, {"role": "user", "content": "No."}]},
    {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
    {"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "late"}, {"role": "user", "content": "y"}]},
    {"messages": [{"role": "user", "content": "Code: {{ x }} {% if %} <|im_end|> </s> \\n \"q\" 'p' <b>&amp;"}]},
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>\nstep 1\n</think>\n\nanswer"}]},
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>old</think>a"},
                  {"role": "user", "content": "r"}, {"role": "assistant", "content": "b", "reasoning": "because"}]},
    {"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                  {"role": "tool", "content": "{\"sun\": true}"}, {"role": "assistant", "content": "Sunny."}]},
    {"messages": [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Weather?"}], "tools": [TOOL]},
    {"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "", "tool_calls": [CALL]},
                  {"role": "tool", "content": "sun"}, {"role": "tool", "content": "rain"}], "tools": [TOOL, TOOL]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "text", "text": ", two"}]}]},
    {"messages": [{"role": "user"}]},
    {"messages": [{"content": "nobody"}]},
    {"messages": [{"role": "user", "content": "line one\r\nline two\ttab"}, {"role": "assistant", "content": "ok"},
                  {"role": "user", "content": "z"}, {"role": "assistant", "content": "ok"}, {"role": "user", "content": "end"}]},
    {"messages": [{"role": "system", "content": "s1"}, {"role": "system", "content": "s2"}, {"role": "user", "content": "u", "name": "Ann"}]},
]
