"""What must be survived (F) and refused (B), row by row: the tests that show it, or the reason why none does yet.

A row names tests as ``path::test`` below ``tests/`` (or ``plugins/…``). `test_rows` checks that each of them exists.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Partly:
    """Tests that show a part of a row. `lacks` says what they do not show yet."""

    tests: tuple[str, ...]
    lacks: str


NETWORK = "session/test_faults_of_the_network.py::test_"
KEEPER = "session/test_keeper.py::test_"
SESSION = "session/test_session.py::test_"
REGISTRAR = "session/test_registrar.py::test_"
CLOCKS = "session/test_clocks.py::test_"
GUARD = "fetch/test_guard.py::test_"
FETCH = "fetch/test_http.py::test_"
ADDRESS = "fetch/test_addresses.py::test_"
FAULT_NETWORK = "faults/test_network.py::test_"
NAMES = "faults/test_names.py::test_"
FAULT_STUDIO = "faults/test_studio_faults.py::test_"
FAULT_UPLOAD = "faults/test_uploads.py::test_"
FAULT_PROCESS = "faults/test_process.py::test_"
DISK = "faults/test_disk.py::test_"
FULL_DISK = DISK + "a_disk_that_takes_nothing_pauses_the_worker_and_costs_no_result"
KILL = "faults/test_kills.py::test_"
CALLS = "faults/test_system_calls.py::test_"
JOURNAL = "jobs/test_kept_journal.py::test_"
JOURNAL_FILE = "jobs/test_journal_file.py::test_"
SPOOL = "jobs/test_spool.py::test_"
READINESS = "test_readiness.py::test_"
LAG = "test_loop_lag.py::test_"
BOTH = "faults/test_worker_and_studio.py::test_"
FRAMES = "faults/test_bad_frames.py::test_"
CLAIMS = "faults/test_bad_claims.py::test_"
TABLE = CLAIMS + "a_claim_that_breaks_the_contract_ends_its_job_by_field_and_the_session_goes_on"
FORGING = "faults/test_forging.py::test_nothing_that_a_studio_says_forges_a_line_or_drives_a_terminal"
UPLOADS = "studio/test_uploads.py::test_"
PLUGINS = "engines/test_bad_plugins.py::test_"
INSTALL = "cli/test_plugins_install.py::test_"
REQUIREMENT = "cli/test_plugins_requirement.py::test_"
DEATHS = "engines/test_process_deaths.py::test_"
ENDING = "engines/test_process_cancelling.py::test_"
RESULTS = "engines/test_process_results.py::test_"
LIFETIME = "engines/test_process_lifetime.py::test_"
KILLS = "engines/test_oom_kills.py::test_"
DOWNLOADS = "models/test_store_downloads.py::test_"
RESUMING = "fetch/test_resuming.py::test_"
STALLS = "fetch/test_stalls.py::test_"
ANSWERS = "fetch/test_answers.py::test_"
REDIRECTS = "fetch/test_redirects.py::test_"
ONE_TRANSFER = "fetch/test_one_transfer.py::test_"
HUB_TOKEN = "fetch/test_hub_token.py::test_"
FORMATS = "models/formats/test_"
LIMITS = "jobs/test_limits_and_quarantine.py::test_"
GIVEN = "jobs/test_input_pictures.py::test_"
ONNX_FILE = "plugins/studio-worker-onnx/tests/test_onnx_file.py::test_"
ONNX_PICTURE = "plugins/studio-worker-onnx/tests/test_picture.py::test_"
SD_WEIGHTS = "plugins/studio-worker-sdcpp/tests/test_weights.py::test_"
SD_PICTURES = "plugins/studio-worker-sdcpp/tests/test_pictures.py::test_"
GGUF = "plugins/studio-worker-llama/tests/test_gguf_header.py::test_"
LLAMA = "plugins/studio-worker-llama/tests/test_"
CANARIES = "e2e/test_canaries.py::test_no_secret_is_anywhere_but_in_the_one_place_that_holds_it"
OUTPUT = "engines/test_process_output.py::test_"
SOUND = "plugins/studio-worker-whisper/tests/test_sound.py::test_"
TOML = "config/test_toml_file.py::test_"

ROWS: dict[str, tuple[str, ...] | Partly] = {
    # The network.
    "F-01": (
        NETWORK + "a_closed_port_is_tried_again_for_ever_without_a_budget",
        NETWORK + "a_budget_that_is_spent_ends_with_69",
    ),
    "F-02": (NETWORK + "a_reset_in_the_upgrade_is_one_failed_try",),
    "F-03": (
        FAULT_NETWORK + "a_reset_after_any_frame_loses_no_job_and_says_nothing_unasked",
        NETWORK + "a_cut_anywhere_in_the_opening_is_survived",
    ),
    "F-04": (FAULT_NETWORK + "a_cut_anywhere_in_a_result_frame_keeps_the_result_for_the_next_offer",),
    "F-05": (
        FAULT_NETWORK + "a_half_open_connection_in_mid_job_costs_a_session_and_no_job",
        NETWORK + "a_half_open_connection_is_dead_after_the_silence",
    ),
    "F-06": (FAULT_NETWORK + "sends_that_vanish_while_the_studio_talks_end_the_session_and_lose_no_result",),
    "F-07": (NETWORK + "a_connect_that_hangs_is_given_up_in_time",),
    "F-08": (NETWORK + "an_upgrade_that_drips_is_given_up_in_total",),
    "F-09": ("jobs/test_uploads.py::test_whose_peer_never_reads_is_given_up",),
    "F-10": (
        FAULT_UPLOAD + "a_slow_upload_that_moves_is_never_cut_and_heartbeats_go_on_beside_it",
        "jobs/test_uploads.py::test_that_is_slow_but_moves_is_never_cut",
    ),
    "F-11": (
        NETWORK + "slices_of_three_bytes_change_nothing",
        NETWORK + "latency_within_the_bounds_is_no_dead_session",
    ),
    "F-12": (
        NETWORK + "a_certificate_that_is_not_trusted_is_refused_by_name",
        NETWORK + "a_handshake_that_is_cut_in_the_middle_is_tried_again",
    ),
    "F-13": (
        "session/test_studio_http.py::test_a_name_that_does_not_exist_is_named",
        NAMES + "a_name_that_cannot_be_resolved_is_named_and_asked_again",
        NAMES + "a_slow_server_of_names_delays_the_session_and_nothing_else",
        NAMES + "a_worker_that_waits_for_a_name_stops_when_it_is_told_to",
        NAMES + "the_second_address_is_used_where_the_first_is_dead",
        NAMES + "a_name_that_moves_is_followed_by_the_next_session_and_ends_none",
    ),
    "F-14": (
        NETWORK + "an_upgrade_through_a_proxy_that_refuses_names_it_and_hides_its_password",
        FAULT_UPLOAD + "what_somebody_on_the_way_has_answered_costs_no_result",
    ),
    "F-15": (
        NETWORK + "a_captive_portal_is_no_studio_and_no_refusal",
        FAULT_UPLOAD + "what_somebody_on_the_way_has_answered_costs_no_result",
    ),
    "F-16": (
        FAULT_NETWORK + "two_hundred_cuts_in_mid_work_leak_neither_tasks_nor_descriptors",
        NETWORK + "flapping_leaks_neither_descriptors_nor_tasks",
        BOTH + "worker_and_studio_bring_every_job_home_once_over_a_network_that_flaps",
    ),
    # What a studio does.
    "F-20": (
        FAULT_STUDIO + "a_studio_that_restarts_in_mid_upload_job_has_one_result",
        FAULT_STUDIO + "a_studio_that_restarts_in_mid_job_gets_a_json_result_when_it_offers_again",
    ),
    "F-21": (SESSION + "no_welcome_in_time_ends_the_session",),
    "F-22": (SESSION + "an_offer_before_the_welcome_is_discarded_with_a_warning",),
    "F-23": (
        SESSION + "withheld_acks_end_the_session_though_other_frames_flow",
        READINESS + "a_worker_whose_studio_stops_to_answer_is_not_ready_before_its_session_ends",
    ),
    "F-24": (CLOCKS + "hours_without_an_offer_are_a_healthy_session",),
    "F-25": (FAULT_STUDIO + "the_same_offer_twice_at_once_is_one_run",),
    "F-26": (FAULT_STUDIO + "an_offer_of_a_running_job_after_a_lost_session_is_adopted",),
    "F-27": (
        FAULT_STUDIO + "a_kept_result_answers_its_own_task_and_no_other",
        "jobs/test_desk.py::test_is_answered_from_what_was_kept",
    ),
    "F-28": (FAULT_STUDIO + "an_offer_that_cannot_be_taken_is_rejected_with_its_code_and_never_failed",),
    "F-29": (FAULT_STUDIO + "acknowledgements_that_never_come_come_twice_or_are_strange_lose_nothing",),
    "F-30": (FAULT_UPLOAD + "ten_minutes_of_503_end_in_one_delivery_and_no_second_run",),
    "F-31": (FAULT_UPLOAD + "a_retry_after_is_honoured_in_range_and_nonsense_is_not",),
    "F-32": (FAULT_UPLOAD + "an_upload_whose_answer_is_cut_is_stored_once_and_settled_by_the_409",),
    "F-33": (
        FAULT_UPLOAD + "a_refused_upload_is_one_failure_that_names_status_and_reason",
        FAULT_UPLOAD + "an_upload_of_a_job_that_is_not_ours_any_more_is_forgotten_without_a_word",
        FAULT_UPLOAD + "a_409_that_does_not_say_why_keeps_the_result_for_the_next_offer",
        FAULT_UPLOAD + "a_401_asks_the_session_again_and_the_upload_waits_for_its_welcome",
    ),
    "F-34": (
        FAULT_UPLOAD + "a_redirected_upload_is_not_followed_and_not_delivered",
        FAULT_UPLOAD + "an_endless_answer_is_cut_off_and_decided_by_its_status",
    ),
    "F-35": (KEEPER + "these_close_codes_lead_to_the_next_session",),
    "F-36": (KEEPER + "a_duplicate_and_a_deleted_worker_end_at_once_with_the_remedy",),
    "F-37": (
        KEEPER + "a_token_refused_once_is_survived",
        KEEPER + "a_refused_token_is_asked_again_three_times_and_then_ends_with_77",
    ),
    "F-38": (FAULT_STUDIO + "a_flood_of_frames_stops_neither_heartbeats_nor_jobs_and_fills_no_memory",),
    "F-39": (
        FAULT_STUDIO + "a_breach_of_the_websocket_rules_costs_a_session_and_no_running_job",
        FAULT_STUDIO + "an_offer_that_breaks_the_link_three_times_running_is_set_aside_for_others",
        KEEPER + "an_offer_that_cannot_be_read_and_keeps_coming_makes_the_worker_shy",
    ),
    "F-40": (REGISTRAR + "an_approval_whose_answer_was_lost_is_made_good_by_the_next_poll",),
    "F-41": (
        REGISTRAR + "trouble_with_a_poll_stays_pending_and_asks_again",
        REGISTRAR + "four_401s_are_borne_and_the_fifth_starts_over",
        REGISTRAR + "a_forgotten_request_is_made_anew_with_a_new_secret",
    ),
    "F-42": (FAULT_STUDIO + "a_studio_ten_years_off_is_one_warning_and_no_more",),
    # Clocks and power.
    "F-50": (
        CLOCKS + "a_wall_clock_that_jumps_leaves_the_session_alone",
        "jobs/test_upkeep.py::test_gives_nothing_up_where_the_wall_clock_has_jumped",
    ),
    "F-51": (
        SESSION + "a_suspended_machine_drops_its_old_socket_at_once",
        KILL + "an_upload_that_was_suspended_on_its_way_is_tried_again_and_taken_once",
        ONE_TRANSFER + "a_process_that_was_suspended_asks_only_for_what_is_missing",
    ),
    "F-52": (SESSION + "the_heartbeats_missed_in_a_pause_are_not_made_up_for",),
    "F-53": (
        KILL + "a_worker_killed_in_mid_run_runs_the_job_again_when_it_is_offered_again",
        KILL + "a_json_result_that_was_kept_answers_the_next_offer_and_says_nothing_unasked",
        KILL + "a_binary_result_that_was_kept_is_uploaded_once_by_the_next_life",
        KILL + "a_binary_result_whose_job_is_not_ours_now_waits_over_a_restart_for_its_offer",
        KILL + "after_its_acknowledgement_nothing_is_said_of_a_job_by_the_next_life",
        KILL + "killed_at_any_moment_a_job_has_one_result_and_runs_again_only_if_nothing_was_kept",
        "faults/test_soak.py::test_every_job_is_settled_once_whatever_is_cut_and_killed",
    ),
    "F-54": (
        CALLS + "killed_at_each_system_call_a_job_has_one_result_and_runs_again_only_if_nothing_was_kept",
        KILL + "killed_at_any_moment_a_job_has_one_result_and_runs_again_only_if_nothing_was_kept",
        SPOOL + "every_step_is_synced_before_the_next_counts",
    ),
    "F-55": (
        "faults/test_power_loss.py::test_whatever_a_power_loss_leaves_a_result_that_was_safe_is_there_and_whole",
        "faults/test_studio_power_loss.py::test_what_a_studio_has_answered_for_outlives_a_power_loss_at_any_moment",
        SPOOL + "every_step_is_synced_before_the_next_counts",
        JOURNAL + "a_result_whose_file_is_not_there_is_not_given",
    ),
    "F-56": (KILL + "a_kill_between_the_answer_and_its_row_costs_one_more_upload_and_is_settled",),
    "F-57": (
        "state/test_credential_store.py::test_a_kill_at_any_step_of_the_write_leaves_the_old_file_or_the_new_one",
    ),
    # Disks.
    "F-60": (
        FULL_DISK,
        JOURNAL + "is_a_trouble_until_there_is_room_and_then_everything_is_written",
        DISK + "a_disk_that_fills_up_under_what_is_fetched_costs_that_job_and_is_named",
        DISK + "a_token_that_a_full_disk_refuses_is_used_and_written_once_there_is_room",
    ),
    "F-61": (
        SPOOL + "bytes_that_cannot_be_synced_are_not_kept_and_not_tried_a_second_time",
        SPOOL + "a_file_that_cannot_be_synced_is_not_kept_and_its_bytes_stay_where_they_were",
    ),
    "F-62": (
        "state/test_lock.py::test_a_folder_that_cannot_be_written_is_refused_with_path_and_remedy",
        FULL_DISK,
    ),
    "F-63": ("config/test_source.py::test_a_read_only_file_is_left_alone_with_a_sentence",),
    "F-64": (
        "models/test_store.py::test_a_models_folder_that_does_not_exist_is_named",
        "models/test_store.py::test_the_models_folder_of_the_moment_counts",
        FAULT_PROCESS + "a_models_folder_that_vanishes_costs_jobs_until_it_is_back",
    ),
    "F-65": (
        JOURNAL_FILE + "that_is_none_is_set_aside_with_its_bytes_and_a_new_one_begun",
        JOURNAL_FILE + "that_was_cut_off_is_set_aside",
        JOURNAL_FILE + "whose_pages_are_spoilt_is_set_aside",
        JOURNAL_FILE + "whatever_byte_of_its_first_page_is_changed_it_opens_or_is_set_aside",
        JOURNAL_FILE + "of_which_sqlite_tells_in_bytes_that_are_no_text_is_set_aside",
        JOURNAL_FILE + "that_was_emptied_beside_kept_results_is_set_aside",
        JOURNAL + "a_row_that_was_changed_is_set_aside_and_the_others_are_given",
        JOURNAL + "a_file_that_breaks_while_the_worker_runs_is_replaced_and_what_is_owed_is_in_the_new_one",
        READINESS + "a_damaged_journal_leaves_the_worker_ready_and_is_told",
        KILL + "a_damaged_journal_is_set_aside_and_the_worker_works",
    ),
    "F-66": (
        KILL + "a_result_whose_file_was_changed_is_not_delivered_and_its_job_runs_again",
        JOURNAL + "a_journal_that_is_gone_at_the_start_takes_none_of_its_results_along",
    ),
    "F-67": (
        "state/test_credential_store.py::test_a_file_of_a_newer_release_is_refused_and_left_untouched",
        JOURNAL_FILE + "of_a_newer_release_is_refused_by_name_and_left_untouched",
    ),
    "F-68": (
        JOURNAL_FILE + "that_is_locked_is_an_error_in_a_bounded_time",
        JOURNAL + "is_waited_for_before_what_is_kept_is_recalled",
        JOURNAL_FILE + "on_a_network_file_system_is_warned_of",
    ),
    "F-69": (FAULT_PROCESS + "a_worker_without_a_free_descriptor_keeps_its_session_and_loses_no_job",),
    "F-70": (
        JOURNAL_FILE + "of_many_rows_shows_the_latest_as_quickly_as_one_of_few",
        JOURNAL + "of_settled_jobs_is_bounded_by_count_and_open_ones_stay",
        "jobs/test_delivery.py::test_results_that_nobody_has_asked_for_are_kept_however_many",
        "jobs/test_delivery.py::test_prompts_count_as_what_lies_in_memory",
    ),
    "F-71": (
        FAULT_PROCESS + "a_state_folder_that_is_deleted_costs_a_job_at_most_and_pauses_the_worker",
        READINESS + "a_state_folder_that_vanishes_makes_the_worker_not_ready",
        JOURNAL + "a_state_folder_that_is_removed_is_a_trouble_although_no_write_fails",
        JOURNAL + "one_that_is_made_anew_gets_a_journal_with_what_is_owed",
    ),
    # Processes and engines.
    "F-80": (
        DEATHS + "one_job_fails_and_the_next_gets_a_new_process_when_an_engine",
        DEATHS + "a_process_that_is_killed_from_outside_fails_its_job_at_once",
        DEATHS + "the_last_lines_of_a_process_that_dies_are_told",
        DEATHS + "a_job_that_was_sent_to_a_process_that_had_just_died_runs_in_the_next",
        "engines/test_restarts.py::test_while_a_process_that_died_at_its_start_rests_jobs_fail_at_once_with_its_reason",
    ),
    "F-81": (
        "test_worker_engines.py::test_a_model_on_which_an_engine_dies_three_times_is_refused_and_others_are_served",
        "engines/test_quarantine.py::test_the_third_death_within_ten_minutes_puts_a_pair_in_quarantine",
    ),
    "F-82": (
        LIMITS + "a_job_without_a_word_is_ended_and_its_stage_named",
        LIMITS + "a_load_that_hangs_is_told_apart_from_what_comes_after_it",
        ENDING + "a_job_that_is_given_up_fails_at_once_and_ends_the_process_of_an_engine_that",
        ENDING + "after_the_grace_the_process_is_ended_of_an_engine_that",
    ),
    "F-83": (
        LIMITS + "a_job_that_steps_is_left_alone_however_long_it_takes",
        LIMITS + "a_job_that_waits_for_its_engine_is_not_overdue",
    ),
    "F-84": (
        DEATHS + "an_engine_that_leaks_up_to_its_limit_is_out_of_memory_and_lives_on",
        KILLS + "a_process_that_the_system_killed_for_memory_is_out_of_memory",
        KILLS + "a_process_that_somebody_else_killed_is_just_killed",
    ),
    "F-85": (
        DEATHS + "children_and_grandchildren_end_within_a_second_of_a_killed_worker_also_where_the_engine",
        PLUGINS + "a_child_ends_within_a_second_of_its_worker",
        "engines/test_child_folders.py::test_what_a_killed_worker_left_is_ended_and_removed_by_the_next_host_that_starts",
    ),
    "F-86": (LIFETIME + "a_child_started_from_a_thread_that_ends_lives_on",),
    "F-87": (
        DEATHS + "what_an_engine_started_ends_with_its_process_also_where_it_holds_stdout",
        DEATHS + "a_grandchild_that_left_the_group_and_holds_stdout_keeps_no_job_waiting",
        PLUGINS + "what_a_plugin_started_ends_with_it",
    ),
    "F-88": (
        DEATHS + "one_job_fails_and_the_next_gets_a_new_process_when_an_engine",
        "engines/test_framing.py::test_a_frame_of_a_huge_length_reserves_nothing",
    ),
    "F-89": (
        OUTPUT + "a_flood_without_a_newline_is_cut_and_keeps_the_loop_free",
        OUTPUT + "a_flood_of_lines_is_counted",
        PLUGINS + "a_plugin_that_prints_much_but_not_too_much_is_described",
    ),
    "F-90": (
        OUTPUT + "progress_after_the_end_and_a_second_result_are_ignored_and_logged_once",
        ENDING + "what_an_engine_says_after_its_cancellation_is_ignored",
        FAULT_PROCESS + "what_an_engine_says_after_its_cancellation_is_heard_by_nobody",
        FAULT_PROCESS + "progress_after_the_result_is_dropped",
    ),
    "F-91": (
        FAULT_PROCESS + "a_result_that_is_none_fails_its_job_and_is_never_uploaded",
        "jobs/test_picture_checks.py::test_a_picture_that_is_all_black_is_refused",
        "jobs/test_sound_checks.py::test_silence_in_place_of_words_is_refused",
        "jobs/test_film_checks.py::test_a_film_that_stays_black_is_refused",
    ),
    "F-92": (
        FAULT_PROCESS + "threads_that_burn_every_core_miss_no_heartbeat",
        FAULT_PROCESS + "a_loop_that_was_blocked_past_every_bound_keeps_its_session",
        LAG + "who_blocked_the_loop_is_named_and_not_what_that_called",
        LAG + "an_engine_that_blocks_the_loop_is_named_to_the_studio",
        "engines/test_job_hooks.py::test_a_hook_that_hangs_delays_neither_jobs_nor_the_end",
    ),
    # Orders of events, and operators.
    "F-100": (
        FAULT_PROCESS + "a_folder_of_a_dead_worker_or_of_a_pid_in_use_again_is_taken_over",
        "e2e/test_lifecycle.py::test_a_second_worker_on_the_same_state_ends_with_75_naming_the_first",
        "state/test_lock.py::test_a_second_worker_is_refused_where_the_lock_file_was_removed",
    ),
    "F-101": (
        "e2e/test_lifecycle.py::test_an_idle_worker_stops_sooner_than_it_starts_and_says_goodbye",
        "e2e/test_lifecycle.py::test_the_first_signal_lets_the_job_finish_and_delivers_it",
        "test_worker_faults.py::test_a_drain_waits_for_an_upload_that_is_tried_again",
    ),
    "F-102": (
        "e2e/test_lifecycle.py::test_the_second_signal_cancels_and_reports",
        "e2e/test_lifecycle.py::test_the_third_signal_ends_at_once",
        "cli/test_run.py::test_a_daemon_outlives_its_terminal",
    ),
    "F-103": ("test_worker_faults.py::test_heartbeats_go_on_through_a_drain_that_takes_long",),
    "F-104": (
        "test_worker_faults.py::test_a_session_that_loses_one_of_its_tasks_ends_and_the_next_one_works",
        "test_worker_faults.py::test_a_worker_that_lost_one_of_its_rooms_is_not_ready_before_it_has_ended",
        "test_worker_faults.py::test_a_worker_that_lost_the_tries_to_write_what_it_could_not_ends_and_says_so",
        "test_worker_faults.py::test_a_result_whose_upload_was_cancelled_is_sent_at_the_next_offer",
        "test_worker_faults.py::test_a_worker_that_loses_one_of_its_rooms_ends_and_says_which",
        FAULT_PROCESS + "a_cancelled_job_task_frees_its_seat_and_the_worker_goes_on",
    ),
    "F-105": (
        FAULT_PROCESS + "a_thousand_pauses_at_a_studio_change_nothing",
        FAULT_PROCESS + "a_hundred_starts_and_stops_at_a_studio_leave_nothing_open",
    ),
    "F-106": ("test_worker_faults.py::test_a_cancellation_that_races_the_result_leaves_one_terminal_frame_a_job",),
    "F-107": ("jobs/test_delivery.py::test_takes_its_turn_and_the_oldest_come_first",),
    "F-108": (
        KILL + "a_job_that_kills_its_worker_three_times_is_refused_and_the_next_one_runs",
        JOURNAL + "a_row_that_was_changed_is_set_aside_and_the_others_are_given",
    ),
    # Downloads.
    "F-110": (
        RESUMING + "after_a_cut_only_what_is_missing_is_served_again",
        ONE_TRANSFER + "a_process_killed_at_any_point_costs_only_what_was_on_its_way",
        DOWNLOADS + "a_download_that_is_cut_asks_only_for_what_is_missing",
    ),
    "F-111": (
        RESUMING + "a_range_that_is_ignored_starts_over_and_never_appends",
        RESUMING + "a_changed_etag_starts_over_with_the_new_file",
        RESUMING + "a_range_of_a_changed_file_is_not_appended_though_the_server_says_so",
        RESUMING + "a_wrong_content_range_starts_over",
        RESUMING + "a_416_that_names_another_length_starts_over",
        ANSWERS + "a_body_shorter_than_announced_is_continued",
        ANSWERS + "a_body_longer_than_its_range_takes_the_part_with_it",
    ),
    "F-112": (
        STALLS + "a_stall_at_99_percent_is_opened_anew_and_only_the_rest_comes_again",
        STALLS + "a_server_that_stalls_each_time_is_given_up_after_six_tries_in_a_row",
        STALLS + "a_body_that_drips_is_given_up_though_it_never_stalls",
    ),
    "F-113": (
        ANSWERS + "a_final_status_is_asked_once_and_names_its_remedy",
        HUB_TOKEN + "a_gated_file_fails_in_one_try_with_what_to_do",
        HUB_TOKEN + "a_hub_that_repeats_the_token_in_its_answer_has_it_repeated_nowhere",
        DOWNLOADS + "a_final_status_is_final_at_once_and_names_the_remedy",
    ),
    "F-114": (
        ANSWERS + "a_wrong_hash_names_both_and_is_final",
        DOWNLOADS + "a_wrong_hash_names_both_and_leaves_no_part",
        "models/test_store.py::test_a_wrong_sha256_names_both_sums",
    ),
    "F-115": (
        ANSWERS + "a_page_in_the_middle_of_a_resume_is_never_written",
        DOWNLOADS + "an_error_page_in_the_middle_of_a_resume_is_never_written",
    ),
    "F-116": (
        ONE_TRANSFER + "many_jobs_that_want_one_file_make_one_transfer_and_all_hear_of_it",
        ONE_TRANSFER + "two_processes_that_want_one_file_make_one_transfer",
        ONE_TRANSFER + "the_lock_of_a_killed_process_ends_with_it_and_the_other_goes_on_where_it_was",
    ),
    "F-117": (
        REDIRECTS + "a_chain_of_five_is_followed_and_the_sixth_is_refused",
        REDIRECTS + "a_loop_ends",
        REDIRECTS + "no_redirect_leads_from_https_to_plain_http",
        FETCH + "five_redirects_are_followed_and_the_sixth_is_refused",
        FETCH + "a_redirect_loop_ends",
        FETCH + "https_is_fetched_and_a_redirect_to_plain_http_is_refused",
    ),
    "F-118": (
        ANSWERS + "packed_bytes_are_refused_since_plain_ones_were_asked_for",
        ANSWERS + "a_packed_range_is_not_appended",
        FETCH + "compressed_bytes_are_refused_since_plain_ones_were_asked_for",
    ),
    # The studio's own side.
    "F-120": (
        "faults/test_worker_and_studio.py::test_a_studio_killed_between_storing_and_committing_takes_the_next_try_once",
        "studio/test_server.py::test_a_result_whose_commit_outlives_its_cancelled_upload_is_kept",
    ),
    "F-121": (
        UPLOADS + "of_two_uploads_at_once_one_is_taken",
        UPLOADS + "a_late_upload_of_an_earlier_attempt_is_refused_by_the_fence",
        UPLOADS + "an_upload_is_refused_where_another_worker_has_the_job_now",
    ),
    "F-122": (
        UPLOADS + "a_job_swept_while_its_upload_runs_is_never_done_twice",
        BOTH + "a_job_whose_upload_something_in_between_has_answered_comes_home",
        BOTH + "a_claim_stays_while_its_job_runs_and_while_its_upload_is_tried_again",
        "studio/test_lost_claims.py::test_a_job_that_is_lost_each_time_fails_and_says_why",
    ),
    "F-123": ("studio/test_session.py::test_the_claim_moves_once_to_the_newer_socket",),
    "F-124": (
        "studio/test_settling.py::test_a_retryable_failure_is_tried_three_times",
        "studio/test_offers.py::test_firm_rejections_of_the_only_worker_end_the_job_without_a_hot_loop",
        "studio/test_offers.py::test_a_transient_rejection_counts_nothing_and_waits_for_the_heartbeat",
    ),
    "F-125": (
        UPLOADS + "an_upload_that_breaks_off_leaves_nothing_and_can_be_made_again",
        UPLOADS + "an_upload_that_stalls_is_ended",
    ),
    "F-126": ("studio/test_events.py::test_a_reader_that_never_reads_is_dropped_at_its_bound",),
    "F-127": (
        "studio/test_server.py::test_a_locked_database_is_a_503_that_says_when_to_ask_again",
        "studio/test_server.py::test_a_result_that_meets_a_locked_database_is_neither_lost_nor_doubled",
    ),
    "F-128": (
        "session/test_fleet.py::test_ten_thousand_workers_are_back_within_a_minute_and_never_too_many_at_once",
        "studio/test_door.py::test_lets_a_crowd_in_at_its_pace_and_all_of_it",
        "studio/test_door.py::test_gives_no_turn_to_those_without_a_token",
    ),
    # Settings and commands.
    "B-001": ("config/test_loading.py::test_each_bad_value_of_the_catalogue_is_refused_by_key",),
    "B-002": (
        TOML + "nesting_of_5000_levels_is_refused",
        TOML + "what_is_no_utf8_text_is_named",
        TOML + "a_folder_is_refused_by_name",
        TOML + "a_named_pipe_is_refused_without_waiting_for_a_writer",
        TOML + "a_file_of_two_gigabytes_is_refused_by_its_size",
    ),
    "B-003": (
        TOML + "a_repeated_key_is_refused_with_line_and_column",
        TOML + "an_unterminated_string_is_refused_with_line_and_column",
    ),
    "B-004": ("config/test_model.py::test_a_studio_address_that_is_no_http_url_is_refused_without_showing_it",),
    "B-005": ("config/test_folders.py::test_a_models_root_that_is_a_file_is_refused_by_key_and_path",),
    "B-006": ("config/test_loading.py::test_an_unknown_key_warns_with_the_nearest_known_one",),
    "B-007": ("config/test_text_values.py::test_a_whole_number_needs_ascii_digits",),
    "B-008": (
        "state/test_credential_store.py::test_a_file_open_to_others_is_refused_with_the_chmod_line",
        "state/test_credential_store.py::test_a_link_is_refused",
        "state/test_credential_store.py::test_a_token_with_a_line_break_is_refused",
        JOURNAL_FILE + "a_journal_that_is_a_link_is_refused_with_its_path_and_what_it_names_is_left_alone",
        JOURNAL_FILE + "a_journal_of_another_user_is_refused_with_the_chown_line_and_not_set_aside",
        JOURNAL_FILE + "a_journal_that_others_may_read_is_closed_to_them_with_what_belongs_to_it_and_keeps_its_rows",
        SPOOL + "another_users_folder_is_refused_and_nothing_in_it_is_removed",
    ),
    "B-009": (
        "cli/test_jobs.py::test_a_bad_line_exits_2_with_its_number_and_nothing_is_queued",
        "cli/test_jobs_file.py::test_a_huge_file_is_read_in_bounded_memory",
    ),
    "B-010": (
        "cli/test_config.py::test_set_threshold_refuses_what_is_no_amount",
        "cli/test_parameters.py::test_what_is_no_port_in_ascii_digits_is_a_usage_error",
        "cli/test_generate_target.py::test_a_folder_that_is_not_there_is_a_usage_error",
    ),
    # Frames.
    "B-020": (FRAMES + "what_cannot_be_read_is_skipped_and_the_session_goes_on",),
    "B-021": (FRAMES + "what_cannot_be_read_is_skipped_and_the_session_goes_on",),
    "B-022": (
        FRAMES + "what_no_json_may_carry_is_skipped_or_refused_deep_inside_an_offer",
        FRAMES + "of_two_equal_keys_no_second_meaning_comes",
        CLAIMS + "numbers_and_letters_that_json_cannot_carry_cost_one_job_at_most",
    ),
    "B-023": (FAULT_STUDIO + "a_breach_of_the_websocket_rules_costs_a_session_and_no_running_job",),
    "B-024": (
        FRAMES + "any_close_code_is_followed_by_a_new_session_and_its_reason_is_escaped",
        FRAMES + "a_close_with_a_reason_of_ten_kilobytes_costs_a_session",
    ),
    "B-025": (FRAMES + "a_hundred_thousand_fragments_and_empty_texts_are_survived",),
    "B-026": (
        FRAMES + "an_upgrade_that_is_none_is_one_failed_try_that_says_what_came",
        FRAMES + "another_subprotocol_is_refused_naming_both",
    ),
    "B-027": (FORGING, KEEPER + "an_error_message_of_a_megabyte_is_cut_and_escaped"),
    "B-028": (FRAMES + "a_welcome_with_strange_fields_is_a_welcome",),
    # Claims.
    "B-040": (TABLE,),
    "B-041": (CLAIMS + "an_offer_without_a_readable_id_is_skipped_and_the_session_goes_on",),
    **{f"B-{number:03}": (TABLE,) for number in range(42, 55)},
    # Addresses.
    "B-060": (
        GUARD + "private_hosts_are_refused_in_every_disguise",
        FETCH + "a_private_listener_is_never_visited",
        REDIRECTS + "a_claim_that_names_this_machine_is_never_connected",
    ),
    "B-061": (ADDRESS + "an_address_is_read_in_every_disguise",),
    "B-062": (ADDRESS + "reserved_tunnelled_and_local_addresses_are_never_global",),
    "B-063": (GUARD + "metadata_services_are_refused_even_where_private_hosts_are_allowed",),
    "B-064": (ADDRESS + "this_machine_and_private_networks_are_private",),
    "B-065": (
        FETCH + "one_private_answer_among_public_ones_refuses_the_name",
        FETCH + "an_address_that_changes_between_check_and_connect_is_refused_at_the_socket",
        REDIRECTS + "a_name_that_leads_to_a_private_address_is_never_connected",
    ),
    "B-066": (
        FETCH + "a_redirect_to_a_private_listener_is_never_followed",
        REDIRECTS + "each_hop_is_judged_as_a_new_address_and_never_connected",
    ),
    "B-067": (
        GUARD + "other_schemes_are_refused",
        GUARD + "credentials_are_refused",
        GUARD + "ports_of_other_services_are_refused",
    ),
    "B-068": (GUARD + "broken_urls_are_refused",),
    "B-069": (GUARD + "plain_http_to_the_public_is_refused",),
    "B-070": (
        GUARD + "the_workers_own_listener_is_refused_under_every_name",
        GUARD + "the_routes_of_the_studios_own_api_are_refused",
    ),
    "B-071": (
        HUB_TOKEN + "the_token_goes_to_nobody_else",
        HUB_TOKEN + "a_gated_file_comes_with_the_token_which_is_dropped_on_the_way_to_the_cdn",
        CANARIES,
    ),
    # Files and models.
    "B-080": ("wire/test_model_source.py::test_a_name_that_is_no_plain_file_is_refused_with_the_rule",),
    "B-081": (
        "models/test_store.py::test_a_pipe_is_no_file_and_is_never_opened",
        "models/test_store.py::test_a_folder_is_no_file",
        "fetch/test_atomic_file.py::test_a_link_at_the_target_is_replaced_and_not_followed",
        "fetch/test_resumable_file.py::test_what_is_no_file_in_the_place_of_a_part_is_replaced_and_not_followed",
    ),
    "B-082": (
        FORMATS + "pickles.py::test_a_pickle_is_refused_by_its_content_whatever_its_name_says",
        FORMATS + "pickles.py::test_a_pickle_inside_is_refused_too",
        FORMATS + "pickles.py::test_a_hostile_file_is_refused_whatever_it_is_called",
        FORMATS + "pickle_walk.py::test_whatever_python_itself_would_import_is_seen",
        FORMATS + "pickles.py::test_an_archive_is_measured_before_its_directory_is_read",
        DOWNLOADS + "a_file_that_no_engine_should_open_never_gets_its_name",
    ),
    "B-083": (
        FORMATS + "safetensors.py::test_a_header_that_lies_is_refused_with_the_reason",
        FORMATS + "safetensors.py::test_a_header_of_anything_is_refused_or_passes_and_never_more",
        SD_WEIGHTS + "a_safetensors_file_that_has_been_cut_is_refused",
    ),
    "B-084": (
        FORMATS + "gguf.py::test_a_header_that_lies_is_refused_by_the_key_or_the_tensor",
        GGUF + "a_header_that_lies_is_refused_by_the_key",
        GGUF + "scrambled_bytes_never_raise_another_error",
        SD_WEIGHTS + "another_version_of_gguf_is_named",
    ),
    "B-085": (
        FORMATS + "onnx.py::test_weights_in_another_place_are_refused_by_its_name",
        FORMATS + "onnx.py::test_operators_of_another_library_are_refused_by_its_name",
        FORMATS + "onnx.py::test_a_graph_under_a_tag_that_only_some_parsers_know_is_refused",
        FORMATS + "onnx.py::test_weights_in_a_file_that_is_none_of_the_models_are_refused",
        ONNX_FILE + "values_in_another_file_are_refused_wherever_they_hide",
        ONNX_FILE + "operators_of_another_library_are_refused_by_its_name",
    ),
    "B-086": (DOWNLOADS + "a_login_page_is_no_model", ANSWERS + "a_login_page_is_no_model"),
    "B-087": (
        LLAMA + "chat.py::test_there_is_no_way_out_of_a_template",
        LLAMA + "chat.py::test_a_template_that_wants_too_much_is_ended_with_a_sentence",
    ),
    "B-088": (
        LLAMA + "weights.py::test_what_cannot_answer_is_refused_by_what_it_is",
        SD_WEIGHTS + "two_files_for_one_part_are_both_named",
    ),
    # Media.
    "B-090": (
        GIVEN + "a_picture_of_too_many_pixels_is_refused_before_it_is_decoded",
        GIVEN + "a_frame_beyond_the_screen_of_a_gif_is_refused_before_it_is_decoded",
        GIVEN + "a_jpeg_of_endless_scans_is_refused_before_it_is_decoded",
    ),
    "B-091": (
        GIVEN + "what_is_none_of_the_four_formats_is_refused",
        "jobs/test_picture_header.py::test_what_is_no_picture_of_the_four_formats_is_unknown",
        ONNX_PICTURE + "other_formats_are_refused_by_the_field",
        SD_PICTURES + "other_formats_are_refused",
    ),
    "B-092": (
        GIVEN + "an_animated_picture_is_refused_by_its_format",
        GIVEN + "ten_thousand_frames_are_refused_at_the_second",
        GIVEN + "a_picture_that_is_cut_is_refused_as_truncated",
        GIVEN + "however_a_file_is_cut_no_pixel_is_made_up",
        GIVEN + "becomes_a_png_file_of_eight_bits",
        GIVEN + "of_a_palette_with_alpha_keeps_it",
        GIVEN + "a_picture_that_lies_on_its_side_is_put_upright",
        GIVEN + "an_orientation_that_there_is_not_is_left_alone",
        "jobs/test_execution.py::test_is_never_run_on_a_picture_that_is_none",
    ),
    "B-093": (
        "wire/test_tasks.py::test_a_mask_needs_its_picture",
        GIVEN + "a_mask_of_another_size_is_refused_by_its_field",
        "jobs/test_execution.py::test_is_never_run_where_a_mask_does_not_cover_its_picture",
    ),
    "B-094": (SOUND + "a_text_that_names_an_address_is_refused_and_nobody_is_asked",),
    "B-095": (
        SOUND + "a_wav_header_that_lies_is_refused",
        SOUND + "samples_that_are_no_numbers_are_refused",
    ),
    "B-096": (SOUND + "hours_in_a_few_kilobytes_are_cut_at_the_limit_while_decoding",),
    "B-097": (
        "fetch/test_data_urls.py::test_bad_base64_is_refused",
        "fetch/test_data_urls.py::test_a_huge_url_is_refused_before_it_is_decoded",
    ),
    # A studio's routes.
    "B-100": (
        UPLOADS + "an_upload_needs_the_workers_bearer",
        "studio/test_access.py::test_no_admin_route_answers_without_the_token",
        "studio/test_access.py::test_the_admin_token_in_an_address_opens_nothing",
        "studio/test_access.py::test_a_sign_in_form_over_the_bound_is_refused_unread",
        "studio/test_access.py::test_a_sign_in_form_that_stalls_is_ended",
        "studio/test_access.py::test_a_connection_that_never_gets_to_a_request_is_closed",
    ),
    "B-101": (
        UPLOADS + "an_upload_of_a_job_that_was_never_claimed_is_refused",
        UPLOADS + "a_second_upload_is_refused_as_done",
    ),
    "B-102": (
        UPLOADS + "a_result_over_the_bound_without_a_length_is_refused",
        UPLOADS + "a_form_of_many_parts_is_refused",
        UPLOADS + "two_image_parts_are_refused",
    ),
    "B-103": (UPLOADS + "the_clients_file_name_is_ignored",),
    "B-104": (
        UPLOADS + "what_is_no_medium_is_kept_inert",
        UPLOADS + "a_script_behind_a_picture_stays_a_picture_in_a_sandbox",
    ),
    "B-105": (
        "studio/test_registration.py::test_the_eleventh_request_in_a_minute_is_put_off",
        "studio/test_registration.py::test_no_more_requests_wait_than_the_bound",
        "studio/test_registration.py::test_a_request_is_forgotten_a_day_after_its_last_poll",
        "studio/test_registration.py::test_a_body_over_the_bound_is_refused",
        "studio/test_registration.py::test_a_bad_request_is_refused_by_the_name_of_the_field",
        "studio/test_pages.py::test_what_a_waiting_worker_says_is_escaped",
    ),
    "B-106": (
        "studio/test_session.py::test_a_frame_before_hello_ends_with_4002",
        "studio/test_settling.py::test_a_frame_about_a_job_that_is_not_held_ends_with_4002",
        "studio/test_settling.py::test_a_second_result_ends_with_4002_and_changes_nothing",
    ),
    "B-107": (
        "studio/test_access.py::test_a_foreign_host_is_not_answered",
        "studio/test_access.py::test_a_request_from_another_origins_page_is_refused",
        "studio/test_access.py::test_a_socket_from_another_origins_page_is_refused",
    ),
    "B-108": (
        "studio/test_job_routes.py::test_a_bad_parameter_is_refused_by_name",
        "studio/test_job_routes.py::test_an_id_that_breaks_the_rule_is_refused",
        "studio/test_job_routes.py::test_a_link_in_the_place_of_a_result_is_not_followed",
    ),
    "B-109": Partly(
        (
            "config/test_model.py::test_a_studio_address_that_is_no_http_url_is_refused_without_showing_it",
            NETWORK + "an_upgrade_through_a_proxy_that_refuses_names_it_and_hides_its_password",
        ),
        "the URLs of a database and of a blob store: the studio takes neither yet, it keeps all in its own folder",
    ),
    # Plugins and what is printed.
    "B-120": (
        PLUGINS + "a_plugin_is_named_with_its_reason_when_it",
        PLUGINS + "changes_to_the_process_stay_in_the_child",
        PLUGINS + "a_broken_plugin_harms_no_other",
        PLUGINS + "a_plugin_that_quotes_its_own_key_is_told_without_it",
        CANARIES,
    ),
    "B-121": ("engines/test_plugins.py::test_an_engine_is_refused_that_claims",),
    "B-122": (
        "engines/test_output.py::test_what_is_no_result_is_refused_by_its_type",
        "engines/test_output.py::test_a_picture_of_another_ext_is_refused",
        "engines/test_output.py::test_json_that_cannot_be_sent_is_refused",
        RESULTS + "a_result_of_the_wrong_shape_is_named",
        RESULTS + "a_file_is_looked_at_before_it_is_believed",
    ),
    "B-123": (
        "engines/test_progress.py::test_steps_are_clamped_into_their_total",
        "engines/test_progress.py::test_a_flood_of_reports_from_a_thread_reach_the_loop_as_a_few",
        "engines/test_progress.py::test_a_preview_that_is_no_small_picture_is_left_out",
        OUTPUT + "a_flood_of_reports_arrives_as_a_few",
        OUTPUT + "reports_that_are_none_are_made_sane",
    ),
    "B-124": (
        INSTALL + "words_that_are_no_package_reach_no_installer",
        INSTALL + "files_beside_the_user_are_neither_run_nor_installed",
        INSTALL + "nothing_is_changed_where_somebody_does_not_agree",
        INSTALL + "where_nobody_can_answer_nothing_is_begun_without_yes",
        REQUIREMENT + "what_is_no_name_is_refused",
        REQUIREMENT + "an_address_is_refused_with_what_to_do_instead",
        REQUIREMENT + "a_path_that_holds_no_package_is_refused",
        REQUIREMENT + "nothing_in_a_path_reads_as_extras_or_a_marker",
        REQUIREMENT + "whatever_is_taken_as_a_name_is_one_word_that_no_installer_takes_for_an_option",
    ),
    "B-125": (
        FORGING,
        "cli/test_output.py::test_text_from_outside_cannot_drive_the_terminal",
        "studio/test_pages.py::test_controls_in_what_is_said_of_a_job_are_shown_as_text",
    ),
    "B-126": (FORGING, "test_log.py::test_braces_in_a_message_are_literal"),
    "B-127": (
        "cli/test_output.py::test_json_is_valid_whatever_it_holds",
        "test_log.py::test_a_json_line_is_valid_json_whatever_the_field_holds",
    ),
}
"""Every row of the two catalogues."""
