"""Whole videos of every sort: codecs, containers, frame structures, geometry, timing, tracks.

Nothing is wrong with these: each must be read exactly, unless its case says otherwise.
"""

from __future__ import annotations

from hostile.corpus import ALL, Case, Sound, tone
from hostile.making import (
    AAC,
    GOP,
    HEVC,
    LAME,
    LAV1,
    OPEN,
    OPUS,
    VP8,
    VP9,
    X264,
    clip,
    edited,
    followed_by,
    headless,
    joined,
    mirrored,
    mute,
    recoded,
    two_videos,
    vp8_hidden,
    with_captions,
    with_cover,
    with_long_box,
    without_type,
)

MANY = range(150)

STRUCTURES = [
    clip("plain.mp4"),
    # More groups of pictures than frames are asked for, so that some can be passed over.
    mute("open_gop.mp4", f"{X264} -x264-params {OPEN}", numbers=MANY),
    mute("open_gop.mkv", f"{X264} -x264-params {OPEN}", numbers=MANY),
    mute(
        "closed_gop.mp4",
        f"{X264} -x264-params open-gop=0:bframes=3:b-adapt=0:{GOP}",
        numbers=MANY,
    ),
    headless("headless.ts", f"{X264} -x264-params {GOP}"),
    headless("headless.mkv", f"{X264} -x264-params {GOP}"),
    clip("all_keyframes.mp4", f"{X264} {AAC} -g 1"),
    clip("gop_250.mp4", f"{X264} {AAC} -g 250 -bf 3", numbers=range(300)),
    clip("b_pyramid.mp4", f"{X264} {AAC} -x264-params bframes=7:b-adapt=0:b-pyramid=normal"),
    clip("no_b.mp4", f"{X264} {AAC} -bf 0"),
    clip("many_refs.mp4", f"{X264} {AAC} -x264-params ref=16:bframes=3:b-adapt=0:weightp=2"),
    clip("intra_refresh.mp4", f"{X264} {AAC} -x264-params intra-refresh=1:keyint=20:bframes=0"),
    mute("interlaced.mp4", f"{X264} -flags +ilme+ildct -x264-params tff=1:bframes=3"),
    mute("fake_interlaced.ts", f"{X264} -x264-params fake-interlaced=1:bframes=2"),
    mute("ten_bit.mp4", f"{X264} -pix_fmt yuv420p10le"),
    mute("yuv444.mp4", f"{X264} -pix_fmt yuv444p"),
    mute("yuv422.mp4", f"{X264} -pix_fmt yuv422p"),
    mute("gray.mkv", "-c:v ffv1 -pix_fmt gray -g 5", loose="colour"),
    mute("rgb.mkv", "-c:v libx264rgb -crf 18 -preset veryfast"),
    mute("full_range.mp4", f"{X264} -vf scale=out_range=pc -color_range pc"),
    mute(
        "bt709.mp4",
        f"{X264} -vf scale=out_color_matrix=bt709 -colorspace bt709 -color_primaries bt709"
        " -color_trc bt709",
    ),
    mute("slices.mp4", f"{X264} -x264-params slices=4:bframes=2"),
]

CODECS = [
    clip("hevc.mp4", f"{HEVC} {AAC} -tag:v hvc1"),
    mute("hevc_open_gop.mp4", f"{HEVC}:{OPEN}", numbers=MANY),
    mute("hevc_open_gop.ts", f"{HEVC}:{OPEN}", numbers=MANY),
    mute("hevc_layers.mp4", f"{HEVC}:temporal-layers=1:bframes=3:b-adapt=0:keyint=30"),
    headless("hevc_headless.ts", HEVC),
    headless("hevc_headless.mkv", HEVC),
    headless("hevc_headless.mp4", HEVC),
    mute("hevc_radl.mp4", f"{HEVC}:radl=2:bframes=3:b-adapt=0:open-gop=0:{GOP}", numbers=MANY),
    mute("hevc_10_bit.mkv", f"{HEVC} -pix_fmt yuv420p10le"),
    clip("vp8.webm", f"{VP8} -c:a libvorbis"),
    Case("vp8_hidden.webm", vp8_hidden, shown=ALL),
    clip("vp9.webm", f"{VP9} {OPUS}"),
    mute(
        "vp9_hidden.webm",
        "-c:v libvpx-vp9 -deadline good -cpu-used 5 -crf 15 -b:v 0 -pix_fmt yuv420p"
        " -auto-alt-ref 1 -lag-in-frames 16",
    ),
    mute("vp9.mp4", VP9),
    mute("vp9_alpha.webm", f"{VP9} -pix_fmt yuva420p"),
    mute("av1.mp4", LAV1),
    mute("av1_groups.mp4", f"{LAV1} -g 5", numbers=MANY),
    mute(
        "av1_open_groups.mkv",
        "-c:v libsvtav1 -preset 10 -crf 5 -g 7 -svtav1-params irefresh-type=1 -pix_fmt yuv420p",
        numbers=MANY,
    ),
    mute("av1_svt.mkv", "-c:v libsvtav1 -preset 10 -crf 5 -g 20 -pix_fmt yuv420p"),
    mute(
        "av1_hidden.mkv",
        "-c:v libaom-av1 -cpu-used 6 -crf 20 -b:v 0 -lag-in-frames 25 -pix_fmt yuv420p",
    ),
    clip("mpeg2.mpg", "-c:v mpeg2video -q:v 2 -bf 2 -g 12 -c:a mp2"),
    mute("mpeg2_interlaced.ts", "-c:v mpeg2video -q:v 2 -bf 2 -flags +ilme+ildct"),
    clip("mpeg4_b.avi", "-c:v mpeg4 -q:v 2 -bf 2 -c:a libmp3lame", sound=LAME),
    # The encoder keeps the last two frames to itself.
    clip(
        "mpeg4_packed.avi",
        "-c:v libxvid -q:v 2 -bf 2 -c:a libmp3lame",
        shown=range(58),
        sound=LAME,
        loose="times",
    ),
    recoded(
        "mpeg4_packed.mp4",
        "-c:v libxvid -q:v 2 -bf 2",
        "@",
        via="avi",
        shown=range(58),
        loose="times",
    ),
    mute("mpeg4_b.mp4", "-c:v mpeg4 -q:v 2 -bf 2"),
    mute("h264_b.avi", f"{X264} -bf 3", loose="times"),
    clip("mjpeg.avi", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p -c:a pcm_s16le"),
    clip("prores.mov", "-c:v prores -c:a pcm_s16be"),
    mute("png.mov", "-c:v png -pix_fmt rgba"),
    mute("raw.avi", "-c:v rawvideo -pix_fmt bgr24"),
    mute("huffyuv.avi", "-c:v huffyuv -pix_fmt yuv422p"),
    mute("h263.3gp", "-c:v h263 -q:v 2 -flags +aic", shape=16 / 11),
    mute("msmpeg4.avi", "-c:v msmpeg4v2 -q:v 2"),
    clip("wmv.asf", "-c:v wmv2 -q:v 2 -c:a wmav2"),
    clip("theora.ogg", "-c:v libtheora -q:v 9 -c:a libvorbis"),
    clip("flv1.flv", f"-c:v flv -q:v 2 {AAC}"),
]

CONTAINERS = [
    clip("h264.ts", f"{X264} -bf 3 {AAC}"),
    clip("h264.m2ts", f"{X264} -bf 3 -c:a ac3"),
    clip("h264.mkv", f"{X264} -bf 3 {AAC}"),
    clip("live.mkv", f"{X264} -bf 3 {AAC} -live 1 -f matroska"),
    clip("h264.flv", f"{X264} -bf 3 {AAC}"),
    # Written to where one cannot go back to fill in lengths.
    clip("piped.mkv", f"{X264} -bf 3 {AAC} -seekable 0"),
    clip("piped.avi", "-c:v mpeg4 -q:v 2 -bf 0 -c:a pcm_s16le -seekable 0"),
    clip("piped.flv", f"{X264} -bf 3 {AAC} -seekable 0"),
    clip("pcm.mov", f"{X264} -bf 3 -c:a pcm_s24le"),
    clip(
        "fragments.mp4",
        f"{X264} -bf 3 -g 15 {AAC} -movflags +frag_keyframe+empty_moov+default_base_moof",
    ),
    # The old ffmpeg command does not leave out the silence that the encoder put in front.
    clip(
        "delayed_index.mp4",
        f"{X264} -bf 3 -g 15 {AAC} -movflags +frag_keyframe+delay_moov",
        loose="sound",
    ),
    clip("negative_offsets.mp4", f"{X264} -bf 3 {AAC} -movflags +negative_cts_offsets"),
    clip("faststart.mp4", f"{X264} -bf 3 {AAC} -movflags +faststart"),
    Case("long_box.mp4", with_long_box, shown=ALL, sound=Sound()),
    Case("no_type_box.mov", without_type, shown=ALL, sound=Sound()),
    Case("padded.mp4", followed_by(bytes(5000)), shown=ALL, sound=Sound()),
    Case("followed_by_text.mp4", followed_by(b"end of text\n" * 99), shown=ALL, sound=Sound()),
]

GEOMETRY = [
    *(
        recoded(
            f"turned_{degrees}.mp4",
            f"{X264} {AAC} -vf {turn}",
            f"@ -metadata:s:v rotate={degrees}",
            via="mp4",
        )
        for degrees, turn in (
            (90, "transpose=clock"),
            (180, "hflip,vflip"),
            (270, "transpose=cclock"),
        )
    ),
    Case("mirrored.mp4", mirrored, shown=ALL),
    mute("wide_pixels.mp4", f"{X264} -vf setsar=4/3", shape=16 / 9),
    mute("narrow_pixels.mp4", f"{X264} -vf setsar=3/4", shape=1.0),
    mute("wide_pixels.mkv", f"{X264} -vf setsar=2/1", shape=8 / 3),
    mute("wide_pixels.ts", f"{X264} -vf setsar=4/3", shape=16 / 9),
    mute("wide_pixels.mpg", "-c:v mpeg2video -q:v 2 -aspect 16:9", shape=16 / 9),
    recoded(
        "wide_and_turned.mp4",
        f"{X264} -vf transpose=clock,setsar=4/3",
        "@ -metadata:s:v rotate=90",
        via="mp4",
        shape=1.0,
    ),
    recoded(
        "shape_of_the_container.mp4",
        f"{X264} {AAC} -vf setsar=1/1",
        "@ -aspect 8:3",
        shape=8 / 3,
    ),
    mute("mad_pixels.mp4", f"{X264} -vf setsar=1000/1", shape=4000 / 3, loose="shape"),
    mute("odd_size.mp4", f"{X264} -pix_fmt yuv444p", size=(95, 127), shape=127 / 95),
    mute("odd_crop.mkv", HEVC, size=(98, 130), shape=130 / 98),
    mute("tiny.mp4", X264, size=(16, 16), shape=1.0),
    mute("narrow.mp4", X264, size=(512, 16), shape=1 / 32, loose="shape"),
    mute(
        "huge.mp4",
        f"{X264} -preset ultrafast -vf scale=7680:4320:flags=neighbor",
        numbers=range(9),
        shape=16 / 9,
    ),
    joined("new_size.ts", size=(144, 192)),
]

TIMING = [
    # The cut is half a frame behind the start of frame 12, which is on show at that time.
    recoded(
        "cut_start.mp4",
        f"{X264} -bf 3 -g 250 {AAC}",
        "-ss 0.5 @",
        shown=range(12, 60),
        sound=Sound(seconds=1.94),
    ),
    recoded(
        "cut_start.mkv",
        f"{X264} -bf 3 -g 20 {AAC}",
        "-ss 1.0 @",
        shown=range(20, 60),
        sound=Sound(seconds=1.7),
    ),
    edited("edits_cut_both_ends.mp4", [(1000, 12800 + 1024)], range(25, 50)),
    edited(
        "edits_two_parts.mp4",
        [(400, 1024 + 2560), (800, 1024 + 17920)],
        [*range(5, 15), *range(35, 55)],
    ),
    edited("edits_repeat.mp4", [(800, 1024), (800, 1024)], [*range(20), *range(20)]),
    edited("edits_late.mp4", [(500, -1), (2400, 1024)], ALL),
    mute(
        "uneven.mp4",
        f"{X264} -bf 2 -fps_mode passthrough -vf"
        r" setpts='(if(lt(N\,40)\,N\,40+(N-40)*9)+0.1)/25/TB' -video_track_timescale 90000",
    ),
    # Rounding gives two frames the same time.
    mute(
        "one_time_twice.mp4",
        rf"{X264} -bf 2 -fps_mode passthrough -vf setpts='(N-0.9*eq(N\,29))/25/TB'",
    ),
    mute(
        "uneven.avi",
        "-c:v mpeg4 -q:v 2 -bf 0 -fps_mode vfr -vf"
        r" setpts='(if(lt(N\,40)\,N\,40+(N-40)*3)+0.1)/25/TB'",
    ),
    recoded("decoding_times.mkv", f"{X264} -bf 3 -g 30", "@ -bsf:v setts=pts=DTS", loose="times"),
    mute(
        "jitter.mkv",
        rf"{X264} -bf 3 -fps_mode passthrough -vf setpts='(N+0.4*mod(N*7\,5)/5)/25/TB'",
    ),
    clip("negative_start.mkv", f"{X264} -bf 2 {AAC} -output_ts_offset -0.5"),
    clip("negative_start.ts", f"{X264} -bf 2 {AAC} -muxdelay 0 -muxpreload 0 -output_ts_offset -1"),
    clip("clock_wraps.ts", f"{X264} -bf 2 {AAC} -output_ts_offset 95441.3"),
    joined("joined.ts"),
    joined("joined_later.ts", "-output_ts_offset 20000", errors=("too_long",)),
    clip("starts_at_9000_s.mkv", f"{X264} -bf 2 {AAC} -output_ts_offset 9000"),
    clip("starts_at_9000_s.ts", f"{X264} -bf 2 {AAC} -output_ts_offset 9000"),
    mute(
        "time_lapse.mp4",
        f"{X264} -bf 2 -fps_mode passthrough -vf setpts=N*10/TB -video_track_timescale 1000",
        numbers=range(20),
    ),
    clip("late_sound.mp4", before="-itsoffset 0.5"),
    clip("late_sound.mkv", before="-itsoffset 0.5"),
    clip("late_frames.mp4", f"{X264} {AAC} -vf setpts=PTS+0.5/TB"),
    clip("late_frames.ts", f"{X264} {AAC} -vf setpts=PTS+0.5/TB"),
    clip("short_sound.mp4", source=tone(seconds=0.5), sound=Sound(seconds=0.5)),
    clip("long_sound.mp4", source=tone(seconds=4.0), sound=Sound(seconds=4.0)),
    clip("one_frame.mp4", numbers=range(1), sound=Sound()),
    mute("two_frames.mp4", numbers=range(2)),
    mute("five_frames.mp4", f"{X264} -bf 2", numbers=range(5)),
    mute("one_frame.mkv", numbers=range(7, 8)),
]

TRACKS = [
    mute("no_sound.mp4"),
    *(
        clip(f"one_second.{ending}", sound=Sound(seconds=1.0), settings={"max_audio_s": 1.0})
        for ending in ("mp4", "mkv", "ts")
    ),
    Case("with_captions.mkv", with_captions, shown=ALL, sound=Sound()),
    clip("silent_sound.mp4", source=tone((0.0, 0.0)), sound=Sound(level=0.0)),
    clip(
        "two_sounds.mkv",
        f"-f lavfi -i {tone((0.1,), hz=1500)} -map 0:v -map 1:a -map 2:a {X264} {AAC}",
    ),
    Case("two_videos.mkv", two_videos, shown=ALL),
    Case("with_cover.mp4", with_cover, shown=ALL, sound=Sound()),
    clip(
        "surround.mp4",
        f"{X264} -c:a aac -b:a 384k",
        source=tone((0.6, 0.3, 0.0, 0.0, 0.1, 0.2)),
        sound=Sound(level=0.2),
    ),
]

VIDEOS = [*STRUCTURES, *CODECS, *CONTAINERS, *GEOMETRY, *TIMING, *TRACKS]
