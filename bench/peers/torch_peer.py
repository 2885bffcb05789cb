"""PyTorch's side of `cargo bench -p groundling-kernels` and of `cargo bench -p groundling-models`.

Reads one request a line on standard input and answers with one line on standard output, so that the benchmark can alternate between the
two programs in one run:

    time <case> <iterations>   ->  seconds for one iteration, mean of the iterations asked for; "none" if the case is unknown
    memory                     ->  peak resident bytes of this process so far
    quit

The cases have the names and the shapes that `crates/groundling-kernels/benches/kernels/cases.rs` gives them. Two threads, float32, no
gradient unless the name says so. Versions are pinned in requirements.txt; `bench/peers/run` installs them.
"""

import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("GROUNDLING_THREADS", "2"))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

clock = time.process_time if os.environ.get("GROUNDLING_CLOCK") == "cpu" else time.perf_counter
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.manual_seed(0)


def no_grad(work):
    def run():
        with torch.inference_mode():
            work()

    return run


def linear(rows, inputs, outputs, activation=None):
    x, w, b = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    if activation is None:
        return no_grad(lambda: F.linear(x, w, b))
    return no_grad(lambda: activation(F.linear(x, w, b)))


def linear_train(rows, inputs, outputs):
    x = torch.randn(rows, inputs, requires_grad=True)
    layer = torch.nn.Linear(inputs, outputs)
    probe = torch.ones(rows, outputs)

    def run():
        x.grad = None
        layer.zero_grad()
        F.gelu(layer(x)).backward(probe)

    return run


def unary(work, *shape):
    x = torch.randn(*shape)
    return no_grad(lambda: work(x))


def unary_train(work, *shape):
    x = torch.randn(*shape, requires_grad=True)
    probe = torch.ones(*shape)

    def run():
        x.grad = None
        work(x).backward(probe)

    return run


def batch_norm_train(*shape):
    norm = torch.nn.BatchNorm1d(shape[1])
    return unary_train(lambda x: F.relu(norm(x)), *shape)


def logistic_loss_train(*shape):
    targets = (torch.rand(*shape) > 0.5).float()
    return unary_train(lambda x: F.binary_cross_entropy_with_logits(x, targets, reduction="none"), *shape)


def layer_norm(*shape):
    x, norm = torch.randn(*shape), torch.nn.LayerNorm(shape[-1])
    return no_grad(lambda: norm(x))


def add_layer_norm(*shape):
    x, y, norm = torch.randn(*shape), torch.randn(*shape), torch.nn.LayerNorm(shape[-1])
    return no_grad(lambda: norm(x + y))


def layer_norm_train(*shape):
    x, norm, probe = torch.randn(*shape, requires_grad=True), torch.nn.LayerNorm(shape[-1]), torch.ones(*shape)

    def run():
        x.grad = None
        norm.zero_grad()
        norm(x).backward(probe)

    return run


def heads(b, length, g, e, grad=False):
    # As a model has them: projected to [B, L, G E], seen as [B, G, L, E].
    return torch.randn(b, length, g, e, requires_grad=grad)


def attention(b, g, n, l, e, mask=None, train=False):
    q, k, v = heads(b, n, g, e, train), heads(b, l, g, e, train), heads(b, l, g, e, train)

    def forward():
        return F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask).transpose(1, 2)

    if not train:
        return no_grad(forward)
    probe = torch.ones(b, n, g, e)

    def run():
        q.grad = k.grad = v.grad = None
        forward().backward(probe)

    return run


def deform(b, g, e, n, points, sizes, train=False):
    """The pure PyTorch implementation in transformers, by grid_sample."""
    from transformers.models.deformable_detr.modeling_deformable_detr import MultiScaleDeformableAttention

    total = sum(h * w for h, w in sizes)
    shapes = torch.tensor(sizes)
    starts = torch.cat((shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]))
    value = torch.randn(b, total, g, e, requires_grad=train)
    where = torch.rand(b, n, g, len(sizes), points, 2, requires_grad=train)
    weights = torch.rand(b, n, g, len(sizes), points, requires_grad=train)
    module = MultiScaleDeformableAttention()

    def forward():
        return module(value, shapes, list(map(tuple, sizes)), starts, where, weights, 64)

    if not train:
        return no_grad(forward)
    probe = torch.ones(b, n, g * e)

    def run():
        value.grad = where.grad = weights.grad = None
        forward().backward(probe)

    return run


def conv(b, inputs, outputs, h, w, kernel, stride=1, groups=1, train=False):
    # With frozen batch normalisation and ReLU behind it, as in the networks that it stands for.
    x = torch.randn(b, inputs, h, w, requires_grad=train)
    weight = torch.randn(outputs, inputs // groups, kernel, kernel, requires_grad=train)
    scale, shift = torch.randn(1, outputs, 1, 1), torch.randn(1, outputs, 1, 1)

    def forward():
        return F.relu(F.conv2d(x, weight, stride=stride, padding=kernel // 2, groups=groups) * scale + shift)

    if not train:
        # At inference PyTorch's users fold the normalisation into the convolution.
        bias = torch.randn(outputs)
        return no_grad(lambda: F.relu_(F.conv2d(x, weight, bias, stride=stride, padding=kernel // 2, groups=groups)))
    probe = torch.ones_like(forward())

    def run():
        x.grad = weight.grad = None
        forward().backward(probe)

    return run


def bert(batch, length):
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(attn_implementation="sdpa"), add_pooling_layer=True).eval()
    ids, mask = torch.randint(0, 30522, (batch, length)), torch.ones(batch, length, dtype=torch.long)
    return no_grad(lambda: model(input_ids=ids, attention_mask=mask))


def resnet50(size):
    import torchvision
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    model = torchvision.models.resnet50().eval()
    for block in model.modules():
        for number in ("1", "2", "3"):
            if hasattr(block, "conv" + number) and hasattr(block, "bn" + number):
                fused = fuse_conv_bn_eval(getattr(block, "conv" + number), getattr(block, "bn" + number))
                setattr(block, "conv" + number, fused)
                setattr(block, "bn" + number, torch.nn.Identity())
        down = getattr(block, "downsample", None)
        if isinstance(down, torch.nn.Sequential):
            block.downsample = fuse_conv_bn_eval(down[0], down[1])
    x = torch.randn(1, 3, size, size)
    return no_grad(lambda: model(x))


def swin_base(size):
    import timm

    model = timm.create_model("swin_base_patch4_window12_384", pretrained=False, img_size=size, features_only=True).eval()
    x = torch.randn(1, 3, size, size)
    return no_grad(lambda: model(x))


def encoder_step(batch, length, width, layers):
    layer = torch.nn.TransformerEncoderLayer(width, 8, 4 * width, dropout=0.0, activation="gelu", batch_first=True)
    model = torch.nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x, target = torch.randn(batch, length, width), torch.randn(batch, length, width)

    def run():
        optimizer.zero_grad()
        (model(x) - target).square().mean().backward()
        optimizer.step()

    return run


def vilt_encoder(tokens):
    """The transformer of ViLT-B/32 alone, over tokens that are there already."""
    from transformers import ViltConfig
    from transformers.models.vilt.modeling_vilt import ViltEncoder

    encoder = ViltEncoder(ViltConfig()).eval()
    x = torch.randn(1, tokens, 768)
    return no_grad(lambda: encoder(x))


def encoder(layers, width, feed_forward):
    layer = torch.nn.TransformerEncoderLayer(width, 8, feed_forward, dropout=0.0, batch_first=True)
    return torch.nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()


def transvg(fusion_layers):
    """The blocks of TransVG at 640 pixels: backbone, DETR's encoder, BERT over 20 pieces, and layers over everything."""
    image, words = resnet50(640), bert(1, 20)
    visual, fusion = encoder(6, 256, 2048), encoder(fusion_layers, 256, 2048)
    cells, all_tokens = torch.randn(1, 400, 256), torch.randn(1, 421, 256)

    def run():
        image()
        words()
        visual(cells)
        if fusion_layers:
            fusion(all_tokens)

    return no_grad(run)


class DmmiFusion(torch.nn.Module):
    """The layers of DMMI's fusion of one stage, over windows of 1, 3 and 5 pixels and of 1, 2 and 3 words."""

    def __init__(self, channels, width, gated):
        super().__init__()
        c, d, conv, dense = channels, width, torch.nn.Conv2d, torch.nn.Linear
        self.visual, self.joint, self.out = conv(c, c, 1), conv(c, c, 1), conv(c, c, 1)
        self.value, self.visual_value, self.text_out, self.update = dense(d, c), conv(c, d, 1), dense(d, d), dense(d, d)
        self.regions = torch.nn.ModuleList(
            torch.nn.ModuleList([dense(d, c), conv(c, c >> n, 1), conv(c >> n, c, 2 * n + 1, padding=n)]) for n in range(3)
        )
        self.spans = torch.nn.ModuleList(
            torch.nn.ModuleList([conv(c, d, 1), dense(d, c // n), dense(c // n * n, d)]) for n in (1, 2, 3)
        )
        self.gate = torch.nn.Sequential(conv(c, c, 1, bias=False), torch.nn.ReLU(), conv(c, c, 1, bias=False), torch.nn.Tanh())
        self.gated, self.scale = gated, c**-0.5

    def forward(self, x, words):
        h, w = x.shape[2:]
        norm = F.instance_norm
        total = 0
        for key, query, window in self.regions:
            query = norm(window(norm(query(x)))).flatten(2)
            total = total + (key(words) @ query * self.scale).softmax(1)
        attended = norm(self.out((self.value(words).transpose(1, 2) @ total).unflatten(2, (h, w))))
        fused = F.gelu(self.joint(F.gelu(self.visual(x)) * attended))
        total = 0
        for n, (key, query, window) in enumerate(self.spans, 1):
            query = F.pad(query(words).transpose(1, 2), (n // 2, (n - 1) // 2), mode="replicate").unfold(2, n, 1)
            query = window(query.permute(0, 2, 1, 3).flatten(2))
            total = total + (query @ norm(key(x)).flatten(2) * self.scale).softmax(2)
        words = words + F.gelu(self.update(self.text_out(total @ norm(self.visual_value(x)).flatten(2).transpose(1, 2))))
        return fused, (x + self.gate(fused) * fused if self.gated else x), words


class DmmiDecoder(torch.nn.Module):
    """Conv pairs with the normalisation folded in, and transformer layers of PyTorch between them."""

    def __init__(self, channels, width):
        super().__init__()
        inputs = [channels[3] + channels[2], width + channels[1], width + channels[0]]
        pair = lambda n: torch.nn.Sequential(
            torch.nn.Conv2d(n, width, 3, padding=1), torch.nn.ReLU(True), torch.nn.Conv2d(width, width, 3, padding=1), torch.nn.ReLU(True)
        )
        self.pairs = torch.nn.ModuleList(map(pair, inputs))
        self.attend = torch.nn.ModuleList(torch.nn.TransformerDecoderLayer(width, 8, 2048, batch_first=True) for _ in range(2))
        self.head = torch.nn.Conv2d(width, 2, 1)

    def forward(self, maps, words):
        y = maps[3]
        for number, fine in enumerate(maps[2::-1]):
            y = F.interpolate(y, fine.shape[2:], mode="bilinear", align_corners=True)
            y = self.pairs[number](torch.cat([y, fine], 1))
            if number < 2:
                y = self.attend[number](y.flatten(2).transpose(1, 2), words).transpose(1, 2).unflatten(2, fine.shape[2:])
        return self.head(y)


def dmmi(size, encoders_alone=False):
    """timm's Swin-B and the BERT of transformers, with the fusion behind each stage and the decoder of DMMI; no erased phrase."""
    image, words = swin_base(size), bert(1, 20)
    if encoders_alone:
        return lambda: (image(), words())
    channels, sides = [128, 256, 512, 1024], [size // 4, size // 8, size // 16, size // 32]
    # What stands between the stages of the encoder costs the same behind it.
    maps = [torch.randn(1, c, side, side) for c, side in zip(channels, sides)]
    fusion = [DmmiFusion(c, 768, stage < 3).eval() for stage, c in enumerate(channels)]
    decoder, tokens = DmmiDecoder(channels, 768).eval(), torch.randn(1, 20, 768)

    def head():
        language, features = tokens, []
        for block, x in zip(fusion, maps):
            feature, _, language = block(x, language)
            features.append(feature)
        low = decoder(features, language)
        F.interpolate(low, (size, size), mode="bilinear", align_corners=True)

    head = no_grad(head)
    return lambda: (image(), words(), head())


def twins(batch, step=False):
    import timm

    model = timm.create_model("twins_svt_small", pretrained=False).train(step)
    x = torch.randn(batch, 3, 224, 224)
    if not step:
        return no_grad(lambda: model(x))

    def run():
        model.zero_grad()
        F.log_softmax(model(x), 1)[:, :1].mean().neg().backward()

    return run


def deformable_detr(height, width):
    """Deformable DETR of transformers with as many queries and as wide feed-forward parts as ours: 231 billion multiply-adds at 800 x 1066
    (torch.utils.flop_counter), ours 234 with the dense encoder."""
    from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(out_features=["stage2", "stage3", "stage4"])
    config = DeformableDetrConfig(
        use_timm_backbone=False, backbone=None, use_pretrained_backbone=False, backbone_config=backbone,
        encoder_ffn_dim=2048, decoder_ffn_dim=2048,
        num_queries=900, two_stage=True, two_stage_num_proposals=900, with_box_refine=True,
    )
    model = DeformableDetrForObjectDetection(config).eval()
    x = torch.randn(1, 3, height, width)
    return no_grad(lambda: model(x))


def swin_bias():
    pair, mask = torch.randn(1, 4, 144, 144), torch.zeros(64, 1, 144, 144)
    return pair + mask


PYRAMID = [(100, 134), (50, 67), (25, 34), (13, 17)]

CASES = {
    "linear 1024x1024x1024": lambda: linear(1024, 1024, 1024),
    "linear 20x768x768": lambda: linear(20, 768, 768),
    "linear 20x768x3072 gelu": lambda: linear(20, 768, 3072, F.gelu),
    "linear 320x768x3072 gelu": lambda: linear(320, 768, 3072, F.gelu),
    "linear 320x3072x768": lambda: linear(320, 3072, 768),
    "linear 2048x256x1024 relu": lambda: linear(2048, 256, 1024, F.relu),
    "linear 9216x128x512 gelu": lambda: linear(9216, 128, 512, F.gelu),
    "linear 2048x256x1024 gelu train": lambda: linear_train(2048, 256, 1024),
    "gelu 2048x1024": lambda: unary(F.gelu, 2048, 1024),
    "gelu 2048x1024 train": lambda: unary_train(F.gelu, 2048, 1024),
    "layer_norm 20x768": lambda: layer_norm(20, 768),
    "layer_norm 2048x256": lambda: layer_norm(2048, 256),
    "layer_norm 320x768": lambda: layer_norm(320, 768),
    "layer_norm 2048x768": lambda: layer_norm(2048, 768),
    "layer_norm 9216x128": lambda: layer_norm(9216, 128),
    "layer_norm 2048x256 train": lambda: layer_norm_train(2048, 256),
    "layer_norm 2048x768 train": lambda: layer_norm_train(2048, 768),
    "add_layer_norm 2048x256": lambda: add_layer_norm(2048, 256),
    "softmax 16x8x128x128": lambda: unary(lambda x: F.softmax(x, -1), 16, 8, 128, 128),
    "softmax 16x8x128x128 train": lambda: unary_train(lambda x: F.softmax(x, -1), 16, 8, 128, 128),
    "softmax of columns 16x20x1024": lambda: unary(lambda x: F.softmax(x, -2), 16, 20, 1024),
    "softmax of columns 16x20x1024 train": lambda: unary_train(lambda x: F.softmax(x, -2), 16, 20, 1024),
    "tanh 2048x1024": lambda: unary(torch.tanh, 2048, 1024),
    "tanh 2048x1024 train": lambda: unary_train(torch.tanh, 2048, 1024),
    "batch_norm relu 16x48x1024 train": lambda: batch_norm_train(16, 48, 1024),
    "logistic_loss 16x16384 train": lambda: logistic_loss_train(16, 16384),
    "attention 16x8x128x32": lambda: attention(16, 8, 128, 128, 32),
    "attention 16x8x128x32 train": lambda: attention(16, 8, 128, 128, 32, train=True),
    "attention 1x12x20x64": lambda: attention(1, 12, 20, 20, 64),
    "attention 8x12x40x64": lambda: attention(8, 12, 40, 40, 64),
    "attention 64x4x144x32 window": lambda: attention(64, 4, 144, 144, 32, mask=swin_bias()),
    "attention 1x8x420x32 padding": lambda: attention(1, 8, 420, 420, 32, mask=torch.ones(1, 1, 1, 420, dtype=torch.bool)),
    "attention 1x12x1024x64": lambda: attention(1, 12, 1024, 1024, 64),
    "deformable 900 queries": lambda: deform(1, 8, 32, 900, 4, PYRAMID),
    "deformable 17821 queries": lambda: deform(1, 8, 32, 17821, 4, PYRAMID),
    "deformable 900 queries train": lambda: deform(1, 8, 32, 900, 4, PYRAMID, train=True),
    "conv 7x7/2 3-64 640": lambda: conv(1, 3, 64, 640, 640, 7, 2),
    "conv 1x1 64-256 160": lambda: conv(1, 64, 256, 160, 160, 1),
    "conv 1x1 256-64 160": lambda: conv(1, 256, 64, 160, 160, 1),
    "conv 3x3 64-64 160": lambda: conv(1, 64, 64, 160, 160, 3),
    "conv 3x3/2 128-128 160": lambda: conv(1, 128, 128, 160, 160, 3, 2),
    "conv 3x3 256-256 40": lambda: conv(1, 256, 256, 40, 40, 3),
    "conv 1x1 1024-256 40": lambda: conv(1, 1024, 256, 40, 40, 1),
    "conv 3x3 512-512 20": lambda: conv(1, 512, 512, 20, 20, 3),
    "conv depthwise 3x3 256 56": lambda: conv(1, 256, 256, 56, 56, 3, groups=256),
    "conv 3x3 64-64 80 train": lambda: conv(2, 64, 64, 80, 80, 3, train=True),
    "bert-base 1x20": lambda: bert(1, 20),
    "bert-base 8x40": lambda: bert(8, 40),
    "resnet-50 1x3x640x640": lambda: resnet50(640),
    "swin-b 1x3x384x384": lambda: swin_base(384),
    "encoder training step 16x128": lambda: encoder_step(16, 128, 256, 6),
    # crates/groundling-models/benches/models/scanformer.rs: 11 word pieces, three answering tokens, 20 + 80 + 300 patches.
    "vilt_b 640x480 dense": lambda: vilt_encoder(414),
    "transvg r50 640": lambda: transvg(6),
    # Without its decoder, which PyTorch has no blocks for: a lower bound.
    "vltvg r50 640": lambda: transvg(0),
    "dmmi swin_b 480": lambda: dmmi(480),
    "dmmi swin_b 480, encoders alone": lambda: dmmi(480, encoders_alone=True),
    "focus_detr r50 800x1066": lambda: deformable_detr(800, 1066),
    "scalablevit_s 1x224": lambda: twins(1),
    "scalablevit_s 8x224": lambda: twins(8),
    "scalablevit_s 8x224 step": lambda: twins(8, step=True),
}


def main():
    ready = {}
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        if command == "quit":
            return
        if command == "memory":
            # Not getrusage: its figure starts with that of the process that started this one.
            with open("/proc/self/status") as status:
                peak = next(line for line in status if line.startswith("VmHWM:"))
            print(int(peak.split()[1]) * 1024, flush=True)
            continue
        name, _, count = rest.rpartition(" ")
        name = name.removesuffix(" plain")  # how we hold weights is no concern of this side
        if name not in CASES:
            print("none", flush=True)
            continue
        if name not in ready:
            ready = {name: CASES[name]()}  # one at a time: caches belong to the case that is measured
            ready[name]()
        start = clock()
        for _ in range(int(count)):
            ready[name]()
        print((clock() - start) / int(count), flush=True)


if __name__ == "__main__":
    main()
